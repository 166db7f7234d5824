# A full disk: refused early with ENOSPC, reads and deletes go on, writes recover.
. tests/integration/lib.sh

[ "$(id -u)" = 0 ] || { echo "needs root for a small disk"; exit 0; }
mkdir "$D/small"
mount -t tmpfs -o size=512m small "$D/small" || die "tmpfs"
STORE=$D/small/store
start_embedded
head -c 10000000 /dev/urandom >"$D/keep"
cp "$D/keep" "$M/keep"
errs "fill" "no space left" dd if=/dev/zero of="$M/fill" bs=1M
check "some of it was taken" [ "$(stat -c %s "$M/fill")" -gt 100000000 ]
cp "$D/keep" "$M/more" 2>/dev/null
check "reads go on" cmp "$D/keep" "$M/keep"
check "deletes go on" rm "$M/fill"
rm -f "$M/more"
check "writes recover" wait_for 60 cp "$D/keep" "$M/again"
check "right" cmp "$D/keep" "$M/again"
check "unmount" unmount
mount_store
check "still there" cmp "$D/keep" "$M/keep"
check "and this" cmp "$D/keep" "$M/again"
check "unmount" unmount
