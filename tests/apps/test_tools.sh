# What others try filesystems with: fio with verify, dbench, bonnie++, stress-ng's filesystem class.
# limit: 900
. tests/integration/lib.sh

start_cluster 3
mount_cluster
mkdir "$M/w"
cd "$M/w" || die "cd"
check "fio, verified" fio --name=v --directory=. --size=64M --bs=4k-128k --rw=randrw --verify=crc32c --verify_fatal=1 \
	--do_verify=1 --verify_state_save=0 --numjobs=2 --group_reporting --ioengine=psync --output="$D/fio.out"
check "dbench" dbench -t "${DBENCH_SECONDS:-15}" -D . 4 >"$D/dbench.out"
tail -1 "$D/dbench.out"
check "bonnie++" bonnie++ -d . -s 256M -r 64 -n 2 -u "$(id -un)" -q >"$D/bonnie.out" 2>"$D/bonnie.err"
check "stress-ng" stress-ng --class filesystem --sequential 1 --timeout "${STRESS_SECONDS:-3}" --temp-path . >"$D/stress.out" 2>&1
refuse "no stressor failed" grep -q "unsuccessful\|: fail" "$D/stress.out"
cd "$D" || die "cd"
check "unmount" unmount
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
