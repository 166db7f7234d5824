# What people do: git, make, tar, SQLite; in the embedded store and on three nodes.
# limit: 300
. tests/integration/lib.sh

# a repository of some thousand files, of which some are a program
make_repository() {
	local i
	mkdir -p "$D/repo/src"
	cd "$D/repo" || die "cd"
	for ((i = 0; i < 3000; i++)); do
		[ $((i % 100)) -ne 0 ] || mkdir -p "data/$((i / 100))"
		echo "file $i $RANDOM" >"data/$((i / 100))/$i"
	done
	for ((i = 0; i < 40; i++)); do
		echo "int f$i(int x); int f$i(int x) { return x + $i; }" >src/f$i.c
	done
	{
		for ((i = 0; i < 40; i++)); do echo "int f$i(int x);"; done
		echo '#include <stdio.h>'
		echo 'int main(void) { int x = 0;'
		for ((i = 0; i < 40; i++)); do echo "x = f$i(x);"; done
		echo 'printf("%d\n", x); return 0; }'
	} >src/main.c
	printf 'prog: $(patsubst %%.c,%%.o,$(wildcard src/*.c))\n\t$(CC) -o $@ $^\n' >Makefile
	git init -q . && git add . && git -c user.name=x -c user.email=x@x commit -qm first
	cd - >/dev/null || die "cd"
}

daily_git() {
	git clone -q --no-hardlinks "$D/repo" "$M/clone" || { check "git clone" false; return; }
	is "git status" "$(git -C "$M/clone" status --porcelain | wc -l)" 0
	check "git fsck" git -C "$M/clone" fsck --strict --no-progress
	check "make" make -s -C "$M/clone" CFLAGS=-O0
	is "and run" "$("$M/clone/prog")" 780
	check "git gc" git -C "$M/clone" gc -q
	check "commit" sh -c "cd '$M/clone' && echo x >new && git add new && git -c user.name=x -c user.email=x@x commit -qm x"
	check "git fsck" git -C "$M/clone" fsck --strict --no-progress
	check "everything is there" diff -r -x .git -x '*.o' -x prog -x new "$D/repo" "$M/clone"
}

daily_tar() {
	mkdir "$M/tar"
	tar cf "$D/usr.tar" -C /usr/include .
	check "untar" tar xf "$D/usr.tar" -C "$M/tar"
	is "checksums" "$(cd "$M/tar" && find . -type f -exec md5sum {} + | sort | md5sum)" \
		"$(cd /usr/include && find . -type f -exec md5sum {} + | sort | md5sum)"
	check "tar again" tar cf "$M/again.tar" --sort=name -C "$M/tar" .
	is "as many entries" "$(tar tf "$M/again.tar" | wc -l)" "$(tar tf "$D/usr.tar" | wc -l)"
}

daily_sqlite() {
	local mode
	for mode in wal delete; do
		check "sqlite $mode" sqlite3 "$M/$mode.db" "
			pragma journal_mode=$mode;
			create table t(id integer primary key, v blob);
			begin;
			with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
				insert into t select i, randomblob(100) from n;
			commit;
			delete from t where id % 3 = 0;
			update t set v = zeroblob(300) where id % 7 = 0;
			vacuum;" >/dev/null
		for i in 1 2 3 4 5 6 7 8 9 10; do
			sqlite3 "$M/$mode.db" "insert into t(v) values (randomblob(1000));" || check "insert" false
		done
		is "integrity $mode" "$(sqlite3 "$M/$mode.db" 'pragma integrity_check')" ok
		is "rows $mode" "$(sqlite3 "$M/$mode.db" 'select count(*) from t')" 13344
	done
}

daily() {
	timed daily_git && echo "git: $TOOK ms"
	timed daily_tar && echo "tar: $TOOK ms"
	timed daily_sqlite && echo "sqlite: $TOOK ms"
	check "unmount" unmount
	check "fsck" "$BIN/fsck.orbitfs" -n "$@"
}

make_repository
start_embedded
daily --store "$STORE"
start_cluster 3
mount_cluster
daily -o "cluster=$CLUSTER"
