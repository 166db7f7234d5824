# orbitctl's commands on three nodes and on an embedded store.
. tests/integration/lib.sh

ctl() { "$BIN/orbitctl" "$@"; }
json() { # valid JSON, as far as a shell can tell: brackets match, keys are quoted
	awk '{ n = gsub(/[{[]/, ""); m = gsub(/[]}]/, ""); d += n - m } END { exit NR == 0 || d != 0 }'
}

for c in mkfs "cluster init" "cluster replicas" "node leave" "node remove" "node weight" "node rename" \
	"session fence" "ring show" status "rebalance status" shard verify watch ping route put get stat rm ls stalled; do
	check "$c --help" sh -c "\"$BIN/orbitctl\" $c --help | grep -q '^usage: orbitctl $c'"
done
check "--help" sh -c "\"$BIN/orbitctl\" --help | grep -q usage"
check "--version" sh -c "\"$BIN/orbitctl\" --version | grep -q orbitctl"

objects() { # where
	head -c 2500000 /dev/urandom >"$D/in"
	check "put" ctl put thing "$D/in" "$@"
	check "get" ctl get thing "$D/out" "$@"
	check "same" cmp "$D/in" "$D/out"
	is "stat" "$(ctl stat thing --json "$@" | grep -o '"stream_end": [0-9]*')" '"stream_end": 2500000'
	echo short | ctl put thing "$@" || check "put from standard input" false
	is "put replaces" "$(ctl get thing "$@")" short
	id=$(ctl route thing --json "$@" | grep -o '"id": "[0-9a-f]*"' | grep -o '[0-9a-f]\{64\}')
	is "route gives the ID" ${#id} 64
	is "get by ID" "$(ctl get "$id" "$@")" short
	check "ls has it" sh -c "\"$BIN/orbitctl\" ls $* | grep -q $id"
	check "ls of its map" ctl ls thing "$@"
	ctl ls --json "$@" | json || check "ls --json" false
	check "rm" ctl rm thing "$@"
	ctl get thing "$@" 2>/dev/null
	is "get: not found" $? 3
	ctl stat thing "$@" 2>/dev/null
	is "stat: not found" $? 3
	ctl rm thing "$@" 2>/dev/null
	is "rm: not found" $? 3
	ctl ls thing "$@" 2>/dev/null
	is "ls: not found" $? 3
	ctl put empty /dev/null "$@" || check "put of nothing" false
	is "get of nothing" "$(ctl get empty "$@" | wc -c)" 0
	check "status" ctl status "$@"
	ctl status --json "$@" | json || check "status --json" false
	check "ring show" ctl ring show "$@"
	ctl ring show --json "$@" | json || check "ring show --json" false
}

make_store
objects --store "$STORE"

first_node --replicas 1 --shards 256 --zone east --name test
add_node --zone west --weight 200
add_node
wait_healthy
check "mkfs" ctl mkfs -o "cluster=$CLUSTER"
objects -o "cluster=$CLUSTER"
is "shards" "$(ctl ring show --json -o "cluster=$CLUSTER" | grep -o '"shards": 256' | wc -l)" 1
check "weights count" [ "$(ctl ring show -o "cluster=$CLUSTER" | awk '/weight 200/ { for (i = 1; i < NF; i++) if ($i == "shards") print $(i + 1) }')" -gt 90 ]
check "zones" grep -q '"zone": "east".*"zone": "west"\|"zone": "west".*"zone": "east"' <(ctl status --json -o "cluster=$CLUSTER")
check "ping" ctl ping "${ADDR[@]}"
ctl ping --json "${ADDR[@]}" | json || check "ping --json" false
check "rebalance status" ctl rebalance status -o "cluster=$CLUSTER"
ctl rebalance status --json -o "cluster=$CLUSTER" | json || check "rebalance status --json" false
check "shard" ctl shard 17 -o "cluster=$CLUSTER"
ctl shard 17 --json -o "cluster=$CLUSTER" | json || check "shard --json" false
errs "no such shard" "0 to 255" ctl shard 256 -o "cluster=$CLUSTER"
ctl ring show --members --json -o "cluster=$CLUSTER" | json || check "ring show --members --json" false
is "all members" "$(ctl ring show --members -o "cluster=$CLUSTER" | grep -c '^shard .* members [123]$')" 256

# what the keeper is asked
id=$(ctl ring show -o "cluster=$CLUSTER" | awk '$1 == 2 { print $2 }')
check "node weight" ctl node weight "$id" 300 -o "cluster=$CLUSTER"
check "it has it" wait_for 10 status_has '"weight": 300'
check "by its address" ctl node weight "${ADDR[2]}" 200 -o "cluster=$CLUSTER"
check "cluster replicas" ctl cluster replicas 2 --min-in-sync 1 -o "cluster=$CLUSTER"
check "two copies" wait_healthy
is "status: healthy" "$(ctl status -o "cluster=$CLUSTER" | head -1)" HEALTHY

# changes, as they happen
"$BIN/orbitctl" watch noticed --count 3 -o "cluster=$CLUSTER" >"$D/watched" &
job=$!
PIDS+=($job)
check "it watches" wait_for 10 grep -q watching "$D/watched"
echo 1 | ctl put noticed -o "cluster=$CLUSTER"
echo 2 | ctl put noticed -o "cluster=$CLUSTER"
echo 3 | ctl put another -o "cluster=$CLUSTER"
ctl rm noticed -o "cluster=$CLUSTER"
check "it ends after 3" wait_for 10 dead $job
is "what it saw" "$(awk '{ print $1 }' "$D/watched" | tr '\n' ' ')" "watching created changed deleted "

timeout 4 "$BIN/orbitctl" status --watch --json -o "cluster=$CLUSTER" >"$D/again"
check "status --watch, again and again" [ "$(grep -c '"health"' "$D/again")" -ge 2 ]
check "writes want more copies than there are" ctl cluster replicas 3 --min-in-sync 3 -o "cluster=$CLUSTER"
check "three copies" wait_healthy

# one node down: said so, and the others still answer
kill_node 3
check "less than min_in_sync: nothing can be written" wait_for 10 status_has UNAVAILABLE
ctl status -o "cluster=$CLUSTER" >"$D/status" 2>&1
is "by its exit code" $? 5
check "why" grep -q 'have less than 3 copies and take no writes' "$D/status"
refuse "a write" ctl put refused "$D/in" --timeout 1s -o "cluster=$CLUSTER"
ctl cluster replicas 3 --min-in-sync 1 -o "cluster=$CLUSTER" || check "cluster replicas" false
check "status tells" wait_for 10 status_has DEGRADED
ctl status -o "cluster=$CLUSTER" >"$D/status" 2>&1
is "by its exit code" $? 4
check "a write" ctl put taken "$D/in" -o "cluster=$CLUSTER"
check "who" grep -q 'DEGRADED: node 3 is down' "$D/status"
is "one is down" "$(grep -c ' down ' "$D/status")" 1
is "two are up" "$(grep -c ' up ' "$D/status")" 2
ctl status --json -o "cluster=$CLUSTER" | json || check "status --json with a node down" false

# and the stalled list of a mount
start_node 3
mount_cluster
check "stalled: nothing" ctl stalled "$M"
is "as JSON" "$(ctl stalled "$M" --json)" "[]"
errs "stalled of another filesystem" "not an orbitfs mount" ctl stalled /proc
check "unmount" unmount
