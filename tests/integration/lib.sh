# lib.sh: what the integration tests share. Sourced. $D is a fresh folder, $M the mountpoint in it;
# whatever is mounted or started by these functions is unmounted and ended when the test exits.
set -u
M=$D/mnt
STORE=$D/store
mkdir -p "$M"
passed=0 failed=0
export ASAN_OPTIONS=log_path=$D/san UBSAN_OPTIONS=log_path=$D/san:print_stacktrace=1
declare -a PIDS=() ADDR=() NODE=()
NNODES=0

# ---- verdicts ----

# check WHAT COMMAND...: the command must succeed
check() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $what: $*   (line ${BASH_LINENO[0]})"
	fi
}

# refuse WHAT COMMAND...: the command must fail
refuse() {
	local what=$1
	shift
	if "$@" 2>/dev/null; then
		failed=$((failed + 1))
		echo "FAILED: $what: succeeded: $*   (line ${BASH_LINENO[0]})"
	else
		passed=$((passed + 1))
	fi
}

is() { # is WHAT GOT WANTED
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $1: got \"$2\", want \"$3\"   (line ${BASH_LINENO[0]})"
	fi
}

# errs WHAT ERROR COMMAND...: it must fail with this text in its message
errs() {
	local what=$1 text=$2 out
	shift 2
	if out=$("$@" 2>&1); then
		failed=$((failed + 1))
		echo "FAILED: $what: succeeded: $*   (line ${BASH_LINENO[0]})"
	elif grep -qiF -- "$text" <<<"$out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $what: says \"$out\", not \"$text\"   (line ${BASH_LINENO[0]})"
	fi
}

die() {
	echo "FAILED: $*"
	failed=$((failed + 1))
	exit 1
}

# wait_for SECONDS COMMAND...: until it succeeds; false when it does not in time
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# ---- processes ----

alive() { kill -0 "$1" 2>/dev/null && [ "$(awk '{ print $3 }' "/proc/$1/stat" 2>/dev/null)" != Z ]; }
dead() { ! alive "$1"; }

cleanup() {
	local rc=$? pid m
	trap '' EXIT TERM INT
	cd /
	for pid in $(jobs -p); do kill -9 "$pid" 2>/dev/null; done
	while read -r m; do umount -l "$m"; done < <(awk -v d="$D/" 'index($2, d) == 1 { print $2 }' /proc/mounts | tac)
	for pid in "${PIDS[@]}" $(cat "$D"/*.pid 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
	if compgen -G "$D/san.*" >/dev/null; then
		cat "$D"/san.*
		failed=$((failed + 1))
	fi
	if [ $failed -gt 0 ] || [ $rc -ne 0 ]; then
		for l in "$D"/*.log; do
			[ -s "$l" ] && echo "--- ${l##*/}" && tail -n 25 "$l"
		done
		[ $failed -gt 0 ] || failed=1
	fi
	echo "$passed passed, $failed failed"
	exit $((failed > 0))
}
trap cleanup EXIT
trap 'exit 143' TERM INT

# ---- mounts ----

is_mounted() { awk -v m="${1:-$M}" '$2 == m && $3 == "fuse.orbitfs" { f = 1 } END { exit !f }' /proc/mounts; }
mount_pid() { cat "$D/mount.pid"; }

make_store() { "$BIN/orbitctl" mkfs --store "$STORE" || die "mkfs"; }

mount_store() { # [options]
	"$BIN/orbitfs" --store "$STORE" -o "log=$D/mount.log,pid=$D/mount.pid${1:+,$1}" "$M" || die "mount"
}

start_embedded() { # [options]
	make_store
	mount_store "$@"
}

mount_cluster() { # [options]
	"$BIN/orbitfs" -o "cluster=$CLUSTER,log=$D/mount.log,pid=$D/mount.pid${1:+,$1}" "$M" || die "mount"
}

# unmounts and waits until the process has ended, everything written
unmount() {
	local pid
	pid=$(mount_pid)
	umount "$M" || return 1
	wait_for 30 dead "$pid"
}

kill_mount() {
	local pid
	pid=$(mount_pid)
	kill -9 "$pid"
	wait_for 10 dead "$pid"
	umount -l "$M"
}

# ---- nodes ----

port_taken() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
listens() { (: <"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; } # HOST:PORT

free_port() { # into $PORT
	PORT=$((PORT + 1))
	while port_taken $PORT; do PORT=$((PORT + 1)); done
}
PORT=$((20000 + $$ % 10000))

# FLAGS[i]: options of node i; RUN[i]: what runs it, if not the shell itself
declare -a FLAGS=() RUN=()
start_node() { # i
	local join=()
	[ "$1" = 1 ] || join=(--join "${ADDR[1]}")
	# shellcheck disable=SC2086
	${RUN[$1]:-} "$BIN/orbitd" --config /dev/null --store "$D/node$1" --listen "${ADDR[$1]}" "${join[@]}" ${FLAGS[$1]:-} \
		--log "$D/node$1.log" 2>>"$D/node$1.err" &
	NODE[$1]=$!
	PIDS+=($!)
	disown
	wait_for 20 listens "${ADDR[$1]}" || die "node $1 does not come up: $(cat "$D/node$1.err")"
}

kill_node() { # i: as a crash
	kill -9 "${NODE[$1]}"
	wait_for 10 dead "${NODE[$1]}"
}

stop_node() { # i: cleanly
	kill "${NODE[$1]}"
	wait_for 30 dead "${NODE[$1]}"
}

# one more node: its address into ADDR, its number into $NEW
new_addr() {
	NEW=$((NNODES + 1))
	NNODES=$NEW
	if [ -n "${NETS:-}" ]; then
		new_net $NEW
	else
		free_port
		ADDR[NEW]=127.0.0.1:$PORT
	fi
	CLUSTER=$(IFS=,; echo "${ADDR[*]}")
}

first_node() { # [options of cluster init]: a cluster of one node, running
	new_addr
	"$BIN/orbitctl" cluster init --store "$D/node1" --addr "${ADDR[1]}" "$@" >"$D/init.out" || die "cluster init"
	start_node 1
}

add_node() { # [flags of orbitd]: one more, joining; its number is $NEW
	new_addr
	FLAGS[NEW]=$*
	start_node $NEW
}

# ---- nodes in networks of their own ----

# Begins the test anew in a network of its own, where each node then gets one, too, as if each had a
# machine: 198.18.0.N, this shell and the mounts are 198.18.0.254. True when that is so.
own_networks() {
	[ -z "${NETS:-}" ] || return 0
	[ "$(id -u)" = 0 ] && command -v ip nsenter >/dev/null && unshare -n true 2>/dev/null || return 1
	export NETS=1
	trap - EXIT
	exec unshare -n bash "$0"
}

begin_networks() {
	ip link set lo up && ip link add br0 type bridge && ip link set br0 up &&
		ip addr add 198.18.0.254/24 dev br0
}

declare -a NET=()
new_net() { # i
	unshare -n sleep 100000 &
	NET[$1]=$!
	PIDS+=($!)
	disown
	wait_for 5 other_net "${NET[$1]}" || die "no network"
	ip link add "veth$1" type veth peer name eth0 netns "${NET[$1]}" || die "no network"
	ip link set "veth$1" master br0 up
	nsenter -t "${NET[$1]}" -n sh -c "ip link set lo up; ip addr add 198.18.0.$1/24 dev eth0; ip link set eth0 up"
	ADDR[$1]=198.18.0.$1:7400
	RUN[$1]="nsenter -t ${NET[$1]} -n"
}
other_net() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ] && [ "$(cat "/proc/$1/comm")" = sleep ]; }
cut_node() { ip link set "veth$1" down; }
mend_node() { ip link set "veth$1" up; }

# ---- how they are ----

status_has() { "$BIN/orbitctl" status --json -o "cluster=$CLUSTER" | grep -q -- "$1"; }
healthy() { "$BIN/orbitctl" status -o "cluster=$CLUSTER" >/dev/null; }
nodes_up() { [ "$("$BIN/orbitctl" status --json -o "cluster=$CLUSTER" | grep -o '"up": true' | wc -l)" = "$1" ]; }
settled() { "$BIN/orbitctl" rebalance status --json -o "cluster=$CLUSTER" | grep -q '"shards": 0, "copies_left": 0, "learning": 0'; }

wait_healthy() { # [SECONDS]: all nodes up, all copies there and where they ought to be
	wait_for "${1:-60}" nodes_up $NNODES || die "not all nodes are up: $("$BIN/orbitctl" status -o "cluster=$CLUSTER")"
	wait_for "${1:-60}" healthy || die "not healthy: $("$BIN/orbitctl" status -o "cluster=$CLUSTER")"
	wait_for "${1:-60}" settled || die "not settled: $("$BIN/orbitctl" rebalance status -o "cluster=$CLUSTER")"
}

# "shard node" of every copy that is in sync
copies() {
	"$BIN/orbitctl" ring show --members -o "cluster=$CLUSTER" |
		awk '/^shard/ { for (i = 3; i < NF; i++) if ($i == "members") n = split($(i + 1), a, ","); for (i = 1; i <= n; i++) print $2, a[i] }' | sort
}
# the figure NAME of all nodes together, or of the node N
figure() { # NAME [N]
	"$BIN/orbitctl" status --json -o "cluster=$CLUSTER" |
		grep -o '"node": [0-9]*\|"'"$1"'": "[0-9]*"' |
		awk -v n="${2:-}" '/"node"/ { at = $2 } !/"node"/ && (n == "" || n == at) { gsub(/"/, ""); s += $2 } END { print s + 0 }'
}

# ---- load that can be checked ----

start_load() { # WORKERS PACE_US
	"$TOOLS/load" run "$M" "$D/load.state" 100000 "$1" "$2" >"$D/load.out" 2>"$D/load.err" &
	LOAD=$!
	wait_for 20 [ -e "$M/w0.b" ] || die "the load does not begin: $(cat "$D/load.err")"
}
end_load() {
	check "the load goes on" alive $LOAD
	kill -TERM $LOAD
	check "no error, every byte right" wait $LOAD
	cat "$D/load.err"
	tail -1 "$D/load.out"
}
# the longest stall that ended between FROM and TO (ms since 1970); 0: none above 100 ms
longest_stall() { awk -v from="$1" -v to="$2" '$1 == "stall" && $2 + $3 > from && $2 + $3 <= to && $3 > m { m = $3 } END { print m + 0 }' "$D/load.out"; }

start_cluster() { # n [options of cluster init]
	local i n=$1
	shift
	first_node "$@"
	for ((i = 2; i <= n; i++)); do add_node; done
	wait_healthy
	"$BIN/orbitctl" mkfs -o "cluster=$CLUSTER" || die "mkfs"
}

# the seconds that a command takes, in ms, into $TOOK
timed() {
	local begin rc=0
	begin=$(now_ms)
	"$@" || rc=$?
	TOOK=$(($(now_ms) - begin))
	return $rc
}
