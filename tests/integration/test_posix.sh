# The conformance suite (tests/posix) on a plain folder, which proves the suite; on the embedded
# store; and on three nodes with three copies, one of which is killed and started again meanwhile,
# again and again. By hand: ROUNDS=10 PERIOD=10 KINDS=cluster (rounds of the suite; seconds between kills),
# ARGS="-s -v" CASES="open rename:exchange" (see tests/posix/suite.c).
# limit: 300
. tests/integration/lib.sh

KINDS=${KINDS:-plain embedded cluster} ROUNDS=${ROUNDS:-1} PERIOD=${PERIOD:-3} ARGS=${ARGS:-} CASES=${CASES:-}

suite() { # WHAT DIR [options]
	local what=$1 dir=$2
	shift 2
	echo "--- on $what"
	# shellcheck disable=SC2086
	check "the suite on $what" "$TOOLS/../posix/posix-suite" "$@" $ARGS "$dir" $CASES
}

# What goes wrong has to be told: each of the cases in self.c but the first two, by its line.
itself() {
	local out name
	mkdir "$D/self"
	printf 'self: dies: on purpose\nself: passes: though it should not\n' >"$D/known"
	out=$("$TOOLS/../posix/posix-suite" -t 1 "$D/self" self)
	is "it tells of failures" "$(grep -c '^FAIL self: ' <<<"$out")" 11
	for name in check_fails_and_goes_on:\ self.c:21 ok_fails wrong_errno no_error child_fails child_dies dies "hangs: still running" times_that_do times_that_change; do
		check "it tells of $name" grep -q "^FAIL self: $name" <<<"$out"
	done
	is "its sum" "$(tail -1 <<<"$out")" "2 passed, 10 failed"
	check "its reason" grep -q "^differs self: differs_with_a_reason: a reason" <<<"$out"
	out=$("$TOOLS/../posix/posix-suite" -t 1 -k "$D/known" "$D/self" self:dies self:passes)
	check "what is known" grep -q "^known self: dies: on purpose" <<<"$out"
	is "its sum" "$(tail -1 <<<"$out")" "0 passed, 1 failed"
	check "it leaves nothing" rmdir "$D/self"
}
itself

if [[ $KINDS == *plain* ]]; then
	mkdir "$D/plain"
	suite "a plain folder" "$D/plain"
fi

if [[ $KINDS == *embedded* ]]; then
	start_embedded
	suite "an embedded mount" "$M" -k tests/posix/known
	check "unmount" unmount
	check "fsck" "$BIN/fsck.orbitfs" -n --store "$STORE"
fi

killer() {
	local victim
	while sleep "$PERIOD" && [ -e "$D/killing" ]; do
		victim=$((RANDOM % 3 + 1))
		kill_node $victim
		start_node $victim
		echo ${NODE[victim]} >"$D/node$victim.pid"
		echo "killed node $victim, started again"
		wait_healthy
	done
}

if [[ $KINDS == *cluster* ]]; then
	start_cluster 3
	mount_cluster
	touch "$D/killing"
	killer >"$D/killer.out" 2>&1 &
	KILLER=$!
	for ((r = 0; r < ROUNDS || $(grep -c ^killed "$D/killer.out") == 0 && r < 100; r++)); do
		suite "three nodes, R=3, one killed every $PERIOD s, round $r" "$M" -k tests/posix/known -t 60
	done
	rm "$D/killing"
	check "the killer" wait $KILLER
	echo "nodes were killed $(grep -c ^killed "$D/killer.out") times"
	check "nodes were killed" grep -q ^killed "$D/killer.out"
	for i in 1 2 3; do
		[ ! -e "$D/node$i.pid" ] || NODE[i]=$(cat "$D/node$i.pid")
	done
	wait_healthy
	check "unmount" unmount
	check "copies are equal" "$BIN/orbitctl" verify -o "cluster=$CLUSTER"
	check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
fi
