# Three nodes: everything through the mount, from two mounts, and after all were stopped.
# limit: 240
. tests/integration/lib.sh
. tests/integration/posix.sh

start_cluster 3
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

check "unmount" unmount
for i in 1 2 3; do check "node $i stops" stop_node $i; done
for i in 1 2 3; do start_node $i; done
mount_cluster
check_kept
check "unmount" unmount
