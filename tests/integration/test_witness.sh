# Two nodes with two copies, and a witness: any one of the three processes may die.
. tests/integration/lib.sh

first_node --replicas 2
add_node
add_node --witness
wait_healthy
"$BIN/orbitctl" mkfs -o "cluster=$CLUSTER" || die "mkfs"
is "the witness holds nothing" "$(copies | grep -c ' 3$')" 0
is "the others hold everything" "$(copies | wc -l)" 2048
mount_cluster
start_load 2 2000
for victim in 1 2 3; do
	begin=$(now_ms)
	kill_node $victim
	echo "without $victim" >"$M/without$victim" || check "it goes on" false
	check "told" wait_for 10 status_has '"health": "DEGRADED"'
	start_node $victim
	wait_healthy
	stall=$(longest_stall "$begin" "$(now_ms)")
	echo "kill node $victim: longest stall $stall ms"
	check "node $victim: the longest stall, $stall ms" [ "$stall" -lt 1000 ]
done
end_load
check "unmount" unmount
check "copies are equal" "$BIN/orbitctl" verify -o "cluster=$CLUSTER"
mount_cluster
check "everything is there" "$TOOLS/load" verify "$M" "$D/load.state"
check "unmount" unmount
