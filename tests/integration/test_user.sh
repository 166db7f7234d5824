# A user who is not root mounts, through fusermount3.
[ "$(id -u)" = 0 ] || { echo "needs root to become somebody else"; exit 0; }
if [ "$(stat -c %a /dev/fuse)" != 666 ] && [ -z "${OPENED:-}" ]; then
	# closed to others here, as in some containers: open it where only this test sees it
	export OPENED=1
	exec unshare -m --propagation private bash -c '
		mknod -m 666 "$D/fuse" c 10 229 && mount --bind "$D/fuse" /dev/fuse && exec bash "$0"' "$0"
fi
. tests/integration/lib.sh

as() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
chmod 711 "$D"
mkdir "$D/his" "$D/his/mnt"
chown -R 65534:65534 "$D/his"
HIS=$D/his/mnt
mount_his() {
	as "$BIN/orbitfs" --store "$D/his/store" -o "pid=$D/his/mount.pid,log=$D/his/log${1:+,$1}" "$HIS"
}
check "mkfs" as "$BIN/orbitctl" mkfs --store "$D/his/store"
check "mount" mount_his
PIDS+=("$(cat "$D/his/mount.pid")")
check "he writes" as sh -c "echo his >'$HIS/f'"
is "it is his" "$(as stat -c %u "$HIS/f")" 65534
errs "he cannot give it away" "not permitted" as chown 0 "$HIS/f"
refuse "nobody else gets in, not even root" ls "$HIS"
check "nosuid, nodev" grep -q " $HIS fuse.orbitfs rw,nosuid,nodev" /proc/mounts
pid=$(cat "$D/his/mount.pid")
check "he unmounts" as fusermount3 -u "$HIS"
check "it ends" wait_for 20 dead "$pid"
check "mount again" mount_his ro
is "it is there" "$(as cat "$HIS/f")" his
check "unmount" as fusermount3 -u "$HIS"
errs "on a folder that is not his" "" as "$BIN/orbitfs" --store "$D/his/store" /usr
