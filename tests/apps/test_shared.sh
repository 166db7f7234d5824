# Programs that work in one tree through two mounts: make, git, SQLite with a rollback journal.
# limit: 300
. tests/integration/lib.sh

B=$D/mnt2
start_cluster 3
mount_cluster
mkdir "$B"
check "second mount" "$BIN/orbitfs" -o "cluster=${ADDR[2]},pid=$D/mount2.pid,log=$D/mount2.log" "$B"

mkdir "$M/src"
cp -r Makefile dht "$M/src"
printf '%s\n' 'SRC := $(wildcard dht/base/*.c dht/wire/*.c dht/ring/*.c)' 'all: $(SRC:.c=.o)' \
	'%.o: %.c' '	cc -std=gnu11 -D_GNU_SOURCE -O1 -I. -c $< -o $@' >"$M/src/mk"
(cd "$M/src" && make -s -f mk dht/base/log.o $(cd "$M/src" && ls dht/ring/*.c | sed 's/c$/o/')) >"$D/make1.out" 2>&1 &
first=$!
check "make on the second" make -s -C "$B/src" -f mk $(cd dht && ls wire/*.c | sed 's,^,dht/,; s/c$/o/') >"$D/make2.out" 2>&1
check "make on the first" wait $first
check "nothing is left to make but the rest" make -s -C "$M/src" -f mk all >"$D/make3.out" 2>&1
check "the other agrees" make -q -C "$B/src" -f mk all

git init -q "$M/repo"
for i in 1 2 3 4 5; do
	for side in "$M" "$B"; do
		echo "$i" >>"$side/repo/f"
		check "commit $i" git -c safe.directory='*' -c user.name=n -c user.email=a@b -C "$side/repo" add f
		git -c safe.directory='*' -c user.name=n -c user.email=a@b -C "$side/repo" commit -qm "$i"
	done
done
is "ten commits" "$(git -c safe.directory='*' -C "$B/repo" log --oneline | wc -l)" 10
check "git fsck" git -c safe.directory='*' -C "$M/repo" fsck --strict

sqlite3 "$M/db" 'pragma journal_mode=delete; create table t(side, n);' >/dev/null
insert() { # side dir
	for i in $(seq 1 "${INSERTS:-50}"); do
		sqlite3 -cmd '.timeout 20000' "$2/db" "insert into t values('$1', $i);" || return 1
	done
}
insert b "$B" &
second=$!
check "insert on the first" insert a "$M"
check "insert on the second" wait $second
is "all rows" "$(sqlite3 "$B/db" 'select count(*) from t')" $((2 * ${INSERTS:-50}))
is "the database is whole" "$(sqlite3 "$M/db" 'pragma integrity_check')" ok

check "unmount the second" umount "$B"
check "unmount" unmount
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
