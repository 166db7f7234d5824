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

free_port() { # into $PORT
	PORT=$((PORT + 1))
	while port_taken $PORT; do PORT=$((PORT + 1)); done
}
PORT=$((20000 + $$ % 10000))

start_node() { # i
	"$BIN/orbitd" --config /dev/null --fsid test --store "$D/node$1" --listen "${ADDR[$1]}" \
		--log "$D/node$1.log" 2>>"$D/node$1.err" &
	NODE[$1]=$!
	PIDS+=($!)
	disown
	wait_for 20 port_taken "${ADDR[$1]##*:}" || die "node $1 does not come up: $(cat "$D/node$1.err")"
}

kill_node() { # i: as a crash
	kill -9 "${NODE[$1]}"
	wait_for 10 dead "${NODE[$1]}"
}

stop_node() { # i: cleanly
	kill "${NODE[$1]}"
	wait_for 30 dead "${NODE[$1]}"
}

start_nodes() { # n: running, without a ring
	local i
	NNODES=$1
	for ((i = 1; i <= NNODES; i++)); do
		free_port
		ADDR[i]=127.0.0.1:$PORT
		start_node $i
	done
	CLUSTER=$(IFS=,; echo "${ADDR[*]}")
}

start_cluster() { # n
	start_nodes "$1"
	"$BIN/orbitctl" ring create "${ADDR[@]}" || die "ring create"
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
