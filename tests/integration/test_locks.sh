# Locks across two mounts of three nodes: who is in whose way, who waits, what becomes of the locks of the
# dead; a database that is written on both mounts at once.
# limit: 240
. tests/integration/lib.sh

B=$D/mnt2
second() { "$BIN/orbitfs" -o "cluster=${ADDR[2]},pid=$D/mount2.pid,log=$D/mount2.log" "$B"; }

start_cluster 3
mount_cluster
mkdir "$B"
check "second mount" second

check "they meet" "$TOOLS/locks" meet "$M" "$B"
check "nobody counts what another counted" "$TOOLS/locks" count "$M" "$B" "${COUNTS:-100}"

# a database with a rollback journal, opened anew each time
sql() { sqlite3 -bail -cmd '.timeout 60000' "$1/db" "$2"; }
writer() { # DIRECTORY WHO
	local i
	for i in $(seq 1 "${INSERTS:-25}"); do
		sql "$1" "BEGIN IMMEDIATE; INSERT INTO t SELECT '$2', $i, (SELECT count(*) FROM t); COMMIT;" || return 1
	done
}
check "make a table" sql "$M" 'CREATE TABLE t (who, n, seen UNIQUE);'
writer "$M" a >"$D/a.out" 2>&1 &
a=$!
writer "$B" b >"$D/b.out" 2>&1 &
b=$!
check "written on the first" wait $a
check "written on the second" wait $b
cat "$D/a.out" "$D/b.out"
is "all is there" "$(sql "$B" 'SELECT count(*), count(DISTINCT seen), max(seen) FROM t;')" "$((2 * ${INSERTS:-25}))|$((2 * ${INSERTS:-25}))|$((2 * ${INSERTS:-25} - 1))"
is "nothing is torn" "$(sql "$M" 'PRAGMA integrity_check;')" ok

# a node dies: the locks stay
"$TOOLS/locks" hold "$B/held" >"$D/hold.out" &
hold=$!
check "held" wait_for 10 grep -q held "$D/hold.out"
kill_node 3
refuse "still in the way" flock -n "$M/held" true
start_node 3
wait_healthy
refuse "still in the way, after it is back" flock -n "$M/held" true

# their mount dies: whoever waits has them within 12 s
"$TOOLS/locks" take "$M/held" >"$D/take.out" &
take=$!
sleep 0.5
check "it waits" alive $take
before=$(now_ms)
kill -9 "$(cat "$D/mount2.pid")"
check "it has them" wait $take
took=$(($(now_ms) - before))
check "within 12 s: $took ms" test $took -lt 12000
kill -9 $hold 2>/dev/null
wait $hold 2>/dev/null
umount -l "$B"
check "second mount again" second
check "it locks" flock -n "$B/held" true

check "unmount the second" umount "$B"
check "unmount" unmount
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
