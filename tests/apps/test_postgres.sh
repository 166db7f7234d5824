# PostgreSQL with fsync on a mount of three nodes, one of which is killed and comes back meanwhile:
# no transaction fails, the indexes agree with the tables, the dump is the same after a restart.
# limit: 300
. tests/integration/lib.sh

PG=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
pg() { su postgres -s /bin/bash -c "cd /; PATH=$PG:\$PATH; export PGHOST=$D/pgsock PGPORT=5433; $*"; }
start_pg() { pg "pg_ctl -D '$M/pg' -w -l '$D/pgsock/log' -o '-k $D/pgsock -p 5433 -c listen_addresses=' start" >/dev/null; }

# with a key that each dump makes up left out
dump() { pg "pg_dump bench" | grep -v '^\\\(un\)\?restrict '; }

chmod 755 "$D"
mkdir -p "$D/pgsock" && chown postgres "$D/pgsock"
start_cluster 3
mount_cluster
mkdir "$M/pg" && chown postgres "$M/pg" && chmod 700 "$M/pg"
check "initdb" pg "initdb -k -D '$M/pg' -A trust" >"$D/initdb.out"
check "start" start_pg
trap 'rc=$?; pg "pg_ctl -D $M/pg -m immediate stop" >/dev/null 2>&1; (exit $rc); cleanup' EXIT
check "tables" pg "createdb bench && pgbench -q -i -s ${SCALE:-5} bench" 2>"$D/init.out"
(
	sleep 5
	kill_node 2
	sleep 4
) &
pg "pgbench -c 4 -T ${SECONDS_OF_BENCH:-20} bench" >"$D/pgbench.out" 2>&1
wait
cat "$D/pgbench.out"
check "no transaction failed" grep -q "number of failed transactions: 0 " "$D/pgbench.out"
start_node 2
check "extension" pg "psql -qc 'create extension amcheck' bench"
check "indexes agree with tables" pg "pg_amcheck --heapallindexed bench"
dump >"$D/dump1"
check "stop" pg "pg_ctl -D '$M/pg' -m fast stop" >/dev/null
check "checksums" pg "pg_checksums --check -D '$M/pg'" >"$D/checksums.out"
unmount
mount_cluster
check "start again" start_pg
dump >"$D/dump2"
check "a whole dump" grep -q "PostgreSQL database dump complete" "$D/dump2"
check "the same dump" cmp "$D/dump1" "$D/dump2"
check "stop" pg "pg_ctl -D '$M/pg' -m fast stop" >/dev/null
check "unmount" unmount
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
