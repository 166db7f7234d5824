# Nodes that stay dead: errors by policy, ^C, the list of what is stalled, umount.
. tests/integration/lib.sh

start_cluster 1
mount_cluster soft,resend_count=2,check_timeout=300ms
head -c 3000000 /dev/urandom >"$M/file"
sync -f "$M/file"
kill_node 1
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
refuse "soft: a read fails" timed cat "$M/other"
check "in about (1 + 2) * 300 ms: $TOOK" [ $TOOK -ge 500 -a $TOOK -le 3000 ]
pid=$(mount_pid)
check "umount while the node is dead" timed umount "$M"
check "at once: $TOOK" [ $TOOK -le 3000 ]
check "the process ends" timed wait_for 40 dead "$pid"
echo "it ended after $TOOK ms"

start_node 1
mount_cluster check_timeout=300ms
echo before >"$M/hard"
kill_node 1
# (what a script starts in the background ignores SIGINT, unless told otherwise)
env --default-signal=INT stat "$M/notyet" >/dev/null 2>"$D/stat.err" &
job=$!
stalled() { "$BIN/orbitctl" stalled "$M" --json | grep -q handle; }
check "it is listed as stalled" wait_for 10 stalled
"$BIN/orbitctl" stalled "$M"
check "hard: it blocks" alive $job
kill -INT $job
check "^C ends it" wait_for 5 dead $job
wait $job 2>/dev/null

# one that waits gets its answer when the node is back
cat "$M/hard" >"$D/got" &
job=$!
wait_for 10 stalled
start_node 1
check "it goes on" wait $job
is "right" "$(cat "$D/got")" before

# a stalled one can be given up by its handle, reads may be soft on their own
kill_node 1
stat "$M/notyet2" >/dev/null 2>"$D/stat.err" &
job=$!
# (some of them may be the mount's own: it looks for orphans)
cancel_reads() {
	local handle
	for handle in $("$BIN/orbitctl" stalled "$M" | sed -n 's/^handle=\([0-9]*\) .*kind=read.*/\1/p'); do
		check "cancel $handle" "$BIN/orbitctl" stalled "$M" --cancel "$handle"
	done
	dead $job
}
check "it ends" wait_for 10 cancel_reads
refuse "a handle that is not there" "$BIN/orbitctl" stalled "$M" --cancel 999999999
check "retry is harmless" "$BIN/orbitctl" stalled "$M" --retry
pid=$(mount_pid)
# (umount(8) itself looks at the mountpoint first, which blocks; with -f it does not)
check "umount while the node is dead" timed umount -f "$M"
check "at once: $TOOK" [ $TOOK -le 3000 ]
check "the process ends" timed wait_for 40 dead "$pid"
echo "it ended after $TOOK ms"
