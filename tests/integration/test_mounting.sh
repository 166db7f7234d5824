# Ways to mount: as mount(8)'s helper, and in the foreground.
. tests/integration/lib.sh

make_store
ln -s "$BIN/orbitfs" "$D/mount.orbitfs"
check "as a helper" "$D/mount.orbitfs" "$STORE" "$M" -o "rw,noatime,_netdev,nofail,x-a=b,log=$D/mount.log,pid=$D/mount.pid"
check "mounted" is_mounted
check "its options" grep -q " $M fuse.orbitfs rw,.*allow_other" /proc/mounts
is "its source" "$(findmnt -no SOURCE "$M")" "$STORE"
check "set-id and devices work for root" sh -c "! grep -q ' $M fuse.orbitfs [^ ]*nosuid' /proc/mounts"
check "unmount" unmount
check "-f does not mount" "$D/mount.orbitfs" "$STORE" "$M" -f -o rw
refuse "not mounted" is_mounted
errs "unknown option" "frob" "$D/mount.orbitfs" "$STORE" "$M" -o frob
check "but not with -s" "$D/mount.orbitfs" "$STORE" "$M" -s -o "frob,nosuid,nodev,noexec,pid=$D/mount.pid,log=$D/mount.log"
check "nosuid" grep -q " $M fuse.orbitfs rw,nosuid,nodev,noexec" /proc/mounts
cp /bin/true "$M/true"
errs "noexec" "permission denied" "$M/true"
check "unmount" unmount

# with access control lists and without: user 1000 may read
list=0x0200000001000600ffffffff02000400e803000004000000ffffffff10000400ffffffff20000000ffffffff
for acl in acl noacl; do
	mount_store $acl
	echo x >"$M/$acl"
	if [ $acl = acl ]; then
		check "a list" setfattr -n system.posix_acl_access -v $list "$M/$acl"
		is "its mask" "$(stat -c %a "$M/$acl")" 640
	else
		errs "no list" "not supported" setfattr -n system.posix_acl_access -v $list "$M/$acl"
		(umask 027; echo x >"$M/masked")
		is "umask" "$(stat -c %a "$M/masked")" 640
	fi
	check "unmount" unmount
done

# in the foreground
"$BIN/orbitfs" -f --store "$STORE" "$M" 2>"$D/fore.log" &
job=$!
check "foreground" wait_for 10 is_mounted
check "works" test -x "$M/true"
umount "$M"
check "ends with 0" wait $job
