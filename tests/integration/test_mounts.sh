# Two mounts of three nodes: what is done through one is seen by the next call through the other;
# nothing is lost or torn when both work in one place; what is remembered costs no message.
# limit: 240
. tests/integration/lib.sh

B=$D/mnt2
sent() { getfattr --only-values -n system.orbitfs.counters "$1" | sed -n 's/^sent=//p'; }
two() { "$TOOLS/mounts" "$@" >>"$D/mounts.out"; }
replaced() { "$TOOLS/replaced" "$@" >>"$D/mounts.out"; }

start_cluster 3
mount_cluster
mkdir "$B"
check "second mount" "$BIN/orbitfs" -o "cluster=${ADDR[2]},pid=$D/mount2.pid,log=$D/mount2.log" "$B"

for seed in 1 2 3; do check "each sees the other's changes, seed $seed" two coherent "$M" "$B" "${STEPS:-300}" $seed; done
check "delay" two delay "$M" "$B" 500
check "appended records are whole" two append "$M" "$B" 500
check "names are neither lost nor doubled" two names "$M" "$B" 100
check "no directory in itself" two cycle "$M" "$B" "${CYCLE:-5}"
check "no read of two writes" two torn "$M" "$B" 3
check "names that are replaced are there" replaced "$M" "$B" 5
check "a file grown by the other is seen whole" two grown "$M" "$B" 3

mkdir "$M/touch"
for i in $(seq 0 99); do echo "file $i" >"$M/touch/$i"; done
two touch "$M" "$B" 100 100
before=$(sent "$M")
check "look at 100 files again and again" two touch "$M" "$B" 100 "${TOUCHES:-10000}"
after=$(sent "$M")
check "the counter is there" test -n "$before"
check "no message: $before, $after" test $((after - before)) -le 40
cat "$D/mounts.out"

check "unmount the second" umount "$B"
check "unmount" unmount
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
