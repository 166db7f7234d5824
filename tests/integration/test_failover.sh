# Nodes with three copies of everything, under a load that can be checked: nodes are killed,
# ended in good order, halted and cut off, one at a time; then all are killed at once. No error, no
# wrong byte, no long stall; copies equal and fsck clean after. By hand: ROUNDS=20 KINDS=kill DOWN=15
# HANG=20 (rounds of each kind, seconds that a node stays away at most), N=5 (nodes), KINDS=rough: the next one is
# killed before all is well again.
# limit: 150
. tests/integration/lib.sh

N=${N:-3} ROUNDS=${ROUNDS:-3} DOWN=${DOWN:-3} HANG=${HANG:-4}
KINDS=${KINDS:-kill leave stop cut all}
if own_networks; then
	begin_networks || die "no networks"
else
	echo "no namespaces for networks here: no link is cut"
	KINDS=${KINDS/cut/}
fi
start_cluster $N
mount_cluster
start_load 3 1000

LAST=$(now_ms) # the end of the round before
declare -a stalls
round() { # KIND LIMIT_MS
	local kind=$1 limit=$2 victim=$((RANDOM % N + 1)) away begin end stall
	away=$((RANDOM % DOWN + 1))
	sleep 0.$((RANDOM % 9 + 1))
	begin=$(now_ms)
	case $kind in
	kill) kill_node $victim; sleep $away; start_node $victim ;;
	rough) kill_node $victim; away=0; sleep 0.$((RANDOM % 10)); start_node $victim; wait_for 20 nodes_up $N ;;
	leave) stop_node $victim; sleep $away; start_node $victim ;;
	stop) away=$HANG; kill -STOP "${NODE[victim]}"; sleep $away; kill -CONT "${NODE[victim]}" ;;
	cut) away=$HANG; cut_node $victim; sleep $away; mend_node $victim ;;
	esac
	[ "$kind" = rough ] || wait_healthy
	end=$(now_ms)
	check "the load goes on" alive $LOAD || return
	stall=$(longest_stall $LAST $end)
	LAST=$end
	stalls+=($stall)
	echo "$kind node $victim, away for $away s: longest stall $stall ms, all well $((end - begin)) ms after it went"
	check "$kind: the longest stall, $stall ms" [ "$stall" -lt "$limit" ]
}

median() { tr ' ' '\n' <<<"$*" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

rounds() { # KIND LIMIT_MS N
	local i
	[[ " $KINDS " == *" $1 "* ]] || return
	stalls=()
	for ((i = 0; i < $3; i++)); do round "$1" "$2"; done
	echo "$1: median of the longest stalls $(median "${stalls[@]}") ms"
}

rounds kill 1000 "$ROUNDS"
rounds rough 60000 $((2 * ROUNDS))
rounds leave 1000 $(((ROUNDS + 2) / 3))
rounds stop 3000 $(((ROUNDS + 2) / 3))
rounds cut 3000 $(((ROUNDS + 2) / 3))

all_at_once() {
	local begin i
	kill -9 "${NODE[@]}"
	for ((i = 1; i <= N; i++)); do wait_for 10 dead "${NODE[i]}"; done
	begin=$(now_ms)
	for ((i = 1; i <= N; i++)); do start_node $i; done
	check "service is back" timeout 20 dd if=/dev/zero of="$M/back" bs=4k count=1 conv=fsync status=none
	TOOK=$(($(now_ms) - begin))
	echo "all killed: service is back after $TOOK ms"
	check "within 10 s: $TOOK" [ $TOOK -lt 10000 ]
	wait_healthy
}
for ((r = 0; r < (ROUNDS + 2) / 3; r++)); do
	[[ " $KINDS " != *" all "* ]] || all_at_once
done

wait_healthy
end_load
TOOK=$(sed -n 's/.* longest \([0-9]*\) ms.*/\1/p' "$D/load.out")
[[ $KINDS == *rough* ]] || check "no call took longer than any failure: $TOOK ms" [ "$TOOK" -lt 3500 ]
check "unmount" unmount
check "copies are equal" "$BIN/orbitctl" verify -o "cluster=$CLUSTER"
mount_cluster
check "everything is there" "$TOOLS/load" verify "$M" "$D/load.state"
check "unmount" unmount
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
