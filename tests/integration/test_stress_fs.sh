# Random changes of files and names by several processes, through one mount and through two, against
# what must be there. SECS=600 for a long run, SEED=n to repeat one.
# limit: 300
. tests/integration/lib.sh

B=$D/mnt2
SECS=${SECS:-4}
SEED=${SEED:-$RANDOM}

stress() { # PROGRAM A B
	"$TOOLS/$1" "$2" "$3" "$SECS" "${WORKERS:-4}" "$SEED" >>"$D/stress.out"
}

start_cluster "${NODES:-3}"
mount_cluster
mkdir "$B" "$M/names" "$M/data"
check "one mount: bytes" stress stress_data "$M/data" "$M/data"
check "one mount: names" stress stress_names "$M/names" "$M/names"
check "second mount" "$BIN/orbitfs" -o "cluster=${ADDR[1]},pid=$D/mount2.pid,log=$D/mount2.log" "$B"
check "two mounts: bytes" stress stress_data "$M/data" "$B/data"
check "two mounts: names" stress stress_names "$M/names" "$B/names"
cat "$D/stress.out"

check "fsck of mounted files" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
check "unmount the second" umount "$B"
check "unmount" unmount
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
