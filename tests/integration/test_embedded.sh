# The embedded store: everything through the mount, and again after another mount.
# limit: 240
. tests/integration/lib.sh
. tests/integration/posix.sh

start_embedded
check "mounted" is_mounted
posix_cases
keep_some
check "unmount" unmount
refuse "still mounted" is_mounted
mount_store
check_kept

# SIGTERM unmounts cleanly, too
pid=$(mount_pid)
echo last >"$M/last"
kill "$pid"
check "ends" wait_for 20 dead "$pid"
refuse "still mounted" is_mounted
refuse "pid file is gone" [ -e "$D/mount.pid" ]
mount_store ro
is "kept" "$(cat "$M/last")" last
errs "read-only" "read-only" touch "$M/x"
check "unmount" unmount
