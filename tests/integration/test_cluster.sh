# Three nodes: everything through the mount, from two mounts; one killed and back; all stopped.
# limit: 240
. tests/integration/lib.sh
. tests/integration/posix.sh

start_cluster 3
is "healthy" "$("$BIN/orbitctl" status -o "cluster=$CLUSTER" | head -1)" HEALTHY
is "three copies" "$(copies | wc -l)" 3072
mount_cluster
posix_cases
keep_some

# another client sees the same
mkdir "$D/mnt2"
check "second mount" "$BIN/orbitfs" -o "cluster=${ADDR[2]},pid=$D/mount2.pid,log=$D/mount2.log" "$D/mnt2"
check "same content" cmp "$D/keep.data" "$D/mnt2/keep/data"
echo from2 >"$D/mnt2/two"
check "seen by the first" wait_for 5 grep -q from2 "$M/two"
check "unmount the second" umount "$D/mnt2"

# without one of them
kill_node 2
echo more >"$M/more"
check "it goes on" grep -q more "$M/more"
check "told" wait_for 10 status_has '"health": "DEGRADED"'
check "fsck: no damage" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER" >"$D/fsck.out"
check "but it says so" grep -q '1024 shards have fewer than 3 copies' "$D/fsck.out"
start_node 2
wait_healthy
is "healthy again" "$("$BIN/orbitctl" status -o "cluster=$CLUSTER" | head -1)" HEALTHY

check "unmount" unmount
check "copies are equal" "$BIN/orbitctl" verify -o "cluster=$CLUSTER"
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
for i in 1 2 3; do check "node $i stops" stop_node $i; done
for i in 1 2 3; do start_node $i; done
mount_cluster
check_kept
is "and what came later" "$(cat "$M/more")" more
check "unmount" unmount
