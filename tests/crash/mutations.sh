#!/bin/bash
# mutations.sh OUT [NAME...]: does crash notice when something is broken that power loss needs?
# Breaks it on purpose, one way at a time, in copies of the sources below OUT. Fails when one passes,
# or when a break no longer fits the code.
set -u
cd "$(dirname "$0")/../.."
out=${1:-build/crash-mutations}
shift
only=" $* "
cflags="-std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -O1 -g -w"
libs="-lrocksdb -luv -lraft -lisal -linih -lssl -lcrypto -lpthread"

# name, file, perl substitution on the whole file
mutations() {
	cat <<'END'
fsync-leaves-dirty-bytes fs/ops/flush.c s/bool dirty = data_dirty/bool dirty = !sync && data_dirty/
fsync-asks-no-node fs/ops/flush.c s/if \(rc \|\| !w->sync\) \{/if (1) {/
fsync-of-a-directory-does-nothing fs/ops/flush.c s/struct mount_txn \*m = mount_track\(fs, c, dir_synced, s\);\n\n\ts->d = d;\n[^\n]*;/op_end(&s->op, 0);/
sync-without-disk dht/node/admin.c s/durable_start\(n, &q->durable[^;]*;/sync_done(&q->durable, 0);/
sync-before-the-disk dht/store/journal.c s/s->impl = \(void \*\)\(uintptr_t\)st->tail;\n[^\n]*;/finish_sync(st, s, 0);/
recovery-believes-all dht/store/recover.c s/return !record_check_data\([^;]*;/return 1;/
vote-before-the-disk dht/node/prepare.c s/durable_start\(x->r.n, &x->durable[^;]*;/vote_synced(&x->durable, 0);/
rename-in-two fs/ops/rename.c s/\t\t\ttxn_del\(&t, &dir, m->from.key, m->from.klen\);/\t\t\t;/ && s/(\t\t\thint_forget\(fs, m->to.ino\);\n\t\}\n)\top_end\(&m->op, 0\);/$1\tstruct orbit_id dir = layout_inode_id(m->from.dir);\n\tstruct txn_build t;\n\ttxn_init(&t);\n\ttxn_del(&t, &dir, m->from.key, m->from.klen);\n\top_submit(&m->op, m->from.dir, &t, second);/ && s/static void rename_done/static void second(void *arg, const struct orbit_reply *r)\n{\n\tstruct renaming *m = arg;\n\top_end(&m->op, r->rc);\n}\n\n$&/
rename-forgets-what-it-replaced fs/ops/rename.c s/\t\tif \(m->to.ino\)\n\t\t\treplace_inode\(m, &t\);//
link-counts-nothing fs/ops/link.c s/\ttxn_refer\(&t, &id, SLOT_NLINK, 1\);//
size-before-the-bytes fs/cache/data_tail.c s/if \(end > size \+ TAIL_FAR && from > size\)\n\t\tsize = from;/if (end > size)\n\t\tsize = end;/
no-mark-behind-the-end fs/cache/data_tail.c s/return di->tail && end <= di->tail_to;/return true;/
no-mark-of-a-cut fs/ops/truncate.c s/txn_set\(&t, &id, SLOT_TRIM, k->size \+ 1\);/;/
blocks-go-before-the-reason fs/ops/trim.c s/if \(why == TRIM_ANYHOW \|\| !elsewhere\(t\)\)/if (1)/
END
}

compile() { # folder, source: the object beside the others
	(cd "$1" && gcc $cflags -I. -c "$2" -o "obj/${2//\//_}.o")
}

base=$out/base
rm -rf "$out"
mkdir -p "$base/obj" "$base/tests"
cp -r dht fs "$base"
cp -r tests/sim tests/crash "$base/tests"
rm -rf "$base/fs/fuse" "$base/tests/sim/main.c"
(cd "$base" && ls dht/*/*.c fs/*/*.c tests/*/*.c) | cflags=$cflags base=$base xargs -P"$(nproc)" -I{} sh -c \
	'cd "$base" && ${CC:-gcc} $cflags -I. -c {} -o obj/$(echo {} | tr / _).o' || exit 1

caught=0 missed=0
try() { # name, file, substitution
	local dir=$out/$1 failed

	mkdir -p "$dir"
	cp -r "$base/dht" "$base/fs" "$base/tests" "$base/obj" "$dir"
	if ! perl -0pi -e "$3 or exit 3" "$dir/$2" || cmp -s "$base/$2" "$dir/$2" || ! compile "$dir" "$2"; then
		echo "MISSED $1: it does not fit $2 any more"
		missed=$((missed + 1))
		return
	fi
	gcc "$dir"/obj/*.o $libs -o "$dir/crash" || exit 1
	"$dir/crash" >"$dir/log" 2>&1
	failed=$(sed -n 's/^.* passed, \([0-9]*\) failed$/\1/p' "$dir/log")
	if [ "${failed:-0}" -eq 0 ]; then
		echo "MISSED $1"
		missed=$((missed + 1))
		return
	fi
	printf 'caught %-34s %s\n' "$1" "$(sed -n 's/^ *crash --replay //p' "$dir/log" | head -1)"
	caught=$((caught + 1))
	rm -rf "$dir"
}

while read -r name file change; do
	[ "$only" = "  " ] || [[ $only = *" $name "* ]] || continue
	try "$name" "$file" "$change"
done < <(mutations)
echo "$caught passed, $missed failed"
[ $missed -eq 0 ]
