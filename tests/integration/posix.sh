# posix.sh: what any mount must do, through the kernel. Sourced after lib.sh; posix_cases runs all
# in $M/posix.

same() { cmp "$1" "$2"; }
mode_of() { stat -c %a "$1"; }

posix_io() {
	head -c 3000000 /dev/urandom >"$D/random"
	check "copy in" cp "$D/random" big
	check "read back" same "$D/random" big
	check "size" [ "$(stat -c %s big)" = 3000000 ]
	check "overwrite in the middle" dd if="$D/random" of=big bs=1000 count=7 seek=1500 conv=notrunc status=none
	dd if="$D/random" of="$D/random" bs=1000 count=7 seek=1500 conv=notrunc status=none
	check "middle" same "$D/random" big
	echo one >f
	echo two >>f
	is "append" "$(cat f)" $'one\ntwo'
	check "append together" "$TOOLS/helper" append-together apx
	echo x >f
	is "truncating open" "$(cat f)" x
	check "truncate down" truncate -s 1000 big
	check "down" same big <(head -c 1000 "$D/random")
	check "truncate up" truncate -s 5000000 big
	is "up" "$(tail -c +1001 big | tr -d '\0' | wc -c)" 0
	check "empty" truncate -s 0 big
	is "bytes of an empty file" "$(stat -c %s,%b big)" 0,0
	check "map" "$TOOLS/helper" map-shared mapped
	check "unlink while open" "$TOOLS/helper" unlink-open gone
}

posix_sparse() {
	check "a byte at 1 TiB" dd if=/dev/zero of=sparse bs=1 count=1 seek=1099511627775 status=none
	is "size" "$(stat -c %s sparse)" 1099511627776
	check "takes little" [ "$(stat -c %b sparse)" -lt 1000 ]
	is "reads zeros" "$(dd if=sparse bs=4096 count=1 skip=1000000 status=none | tr -d '\0' | wc -c)" 0
	check "shrink again" truncate -s 10 sparse
	check "seek data and hole" "$TOOLS/helper" seek-hole holes
	head -c 4194304 /dev/urandom >"$D/r"
	cp "$D/r" punched
	check "punch" fallocate -p -o 1000000 -l 2000000 punched
	dd if=/dev/zero of="$D/r" bs=1000000 seek=1 count=2 conv=notrunc status=none
	check "punched" same "$D/r" punched
	is "size stays" "$(stat -c %s punched)" 4194304
	check "zero range" fallocate -z -o 0 -l 100000 punched
	dd if=/dev/zero of="$D/r" bs=100000 count=1 conv=notrunc status=none
	check "zeroed" same "$D/r" punched
	check "fallocate" fallocate -l 8388608 punched
	is "grew" "$(stat -c %s punched)" 8388608
}

posix_names() {
	local long
	long=$(printf 'n%.0s' {1..255})
	check "a name of 255 bytes" touch "$long"
	errs "256 are too many" "name too long" touch "${long}n"
	rm "$long"
	check "mkdir" mkdir -p a/b/c
	errs "mkdir again" "exists" mkdir a
	errs "rmdir of a full one" "not empty" rmdir a
	is "links of a folder" "$(stat -c %h a)" 3
	check "rmdir" rmdir a/b/c
	errs "no such file" "no such file" cat nothing
	errs "not a folder" "not a directory" ls f/x
	errs "unlink of a folder" "is a directory" rm a
	echo x >f
	check "hard link" ln f l
	is "links" "$(stat -c %h f)" 2
	is "same inode" "$(stat -c %i f)" "$(stat -c %i l)"
	rm f
	is "the other stays" "$(cat l)" x
	check "symlink" ln -s l s
	is "readlink" "$(readlink s)" l
	is "follow" "$(cat s)" x
	check "dangling" ln -s nowhere dangling
	refuse "follow dangling" cat dangling
	check "fifo" mkfifo p
	check "is fifo" [ -p p ]
	(echo through >p) &
	is "through a fifo" "$(cat p)" through
	if [ "$(id -u)" = 0 ]; then
		check "device" mknod null c 1 3
		is "device numbers" "$(stat -c %t,%T null)" 1,3
		check "it works" sh -c 'echo x >null'
	fi
}

posix_rename() {
	mkdir -p r/d1 r/d2
	echo 1 >r/a
	echo 2 >r/b
	check "rename over" mv -f r/a r/b
	is "new" "$(cat r/b)" 1
	refuse "old" [ -e r/a ]
	echo 3 >r/c
	check "exchange" "$TOOLS/helper" rename exchange r/b r/c
	is "exchanged" "$(cat r/b r/c)" $'3\n1'
	errs "noreplace" "exists" "$TOOLS/helper" rename noreplace r/b r/c
	check "noreplace to a new name" "$TOOLS/helper" rename noreplace r/b r/new
	check "to another folder" mv r/new r/d1/new
	is "there" "$(cat r/d1/new)" 3
	check "a folder into another" mv r/d1 r/d2/
	is "its .." "$(stat -c %i r/d2/d1/..)" "$(stat -c %i r/d2)"
	is "links of the new parent" "$(stat -c %h r/d2)" 3
	is "links of the old parent" "$(stat -c %h r)" 3
	errs "into itself" "subdirectory of itself" mv r/d2 r/d2/d1/
	mkdir r/full r/empty
	errs "over a full one" "not empty" mv -T r/empty r/d2
	touch r/full/x
	check "over an empty one" mv -T r/full r/empty
	check "it moved" [ -e r/empty/x ]
}

posix_attrs() {
	echo x >attr
	check "chmod" chmod 4751 attr
	is "mode" "$(mode_of attr)" 4751
	check "times" "$TOOLS/helper" times attr
	check "touch -d" touch -d @1234567890.987654321 attr
	is "mtime" "$(stat -c %.9Y attr)" 1234567890.987654321
	if [ "$(id -u)" = 0 ]; then
		check "chown" chown 1234:4321 attr
		is "owner" "$(stat -c %u:%g attr)" 1234:4321
		is "chown drops set-id" "$(mode_of attr)" 751
		check "trusted.*" setfattr -n trusted.t -v 1 attr
	fi
	mkdir sticky
	chmod 2775 sticky
	touch sticky/f
	is "group of a set-gid folder" "$(stat -c %g sticky/f)" "$(stat -c %g sticky)"
	check "setfattr" setfattr -n user.color -v blue attr
	is "getfattr" "$(getfattr --only-values -n user.color attr)" blue
	check "a large one" setfattr -n user.large -v "$(printf 'v%.0s' {1..20000})" attr
	is "list" "$(getfattr -m '^user\.' attr | grep -c ^user)" 2
	check "remove" setfattr -x user.color attr
	errs "gone" "no such attribute" getfattr -n user.color attr
	check "df" df . --output=size,avail
	check "there is space" [ "$(df . --output=avail -B1 | tail -1)" -gt 1000000 ]
}

posix_tree() {
	mkdir tree
	(cd /usr/include && tar cf - linux) | tar xf - -C tree || check "untar" false
	check "same tree" diff -r /usr/include/linux tree/linux
	is "as many names" "$(find tree/linux | wc -l)" "$(find /usr/include/linux | wc -l)"
	check "remove it" rm -r tree
	refuse "it is gone" [ -e tree ]
}

posix_cases() {
	mkdir -p "$M/posix"
	cd "$M/posix" || die "cd"
	posix_io
	posix_sparse
	posix_names
	posix_rename
	posix_attrs
	posix_tree
	cd /
}

# What must still be there after an unmount and another mount.
keep_some() {
	mkdir -p "$M/keep/sub"
	head -c 2500000 /dev/urandom >"$D/keep.data"
	cp "$D/keep.data" "$M/keep/data"
	ln "$M/keep/data" "$M/keep/sub/link"
	ln -s data "$M/keep/symlink"
	setfattr -n user.k -v v "$M/keep/data"
	KEPT=$(cd "$M" && stat -c '%n %i %s %a %u %g %h %Y' keep keep/data keep/sub keep/sub/link)
}

check_kept() {
	is "attributes and inode numbers" "$(cd "$M" && stat -c '%n %i %s %a %u %g %h %Y' keep keep/data keep/sub keep/sub/link)" "$KEPT"
	check "content" same "$D/keep.data" "$M/keep/data"
	is "symlink" "$(readlink "$M/keep/symlink")" data
	is "xattr" "$(getfattr --absolute-names --only-values -n user.k "$M/keep/data")" v
}
