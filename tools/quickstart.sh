#!/bin/bash
# quickstart.sh start|stop: a filesystem to try, in a folder of the user's: make quickstart.
#
#   BIN    where the programs are
#   DIR    where its data lies     (default: ~/.local/share/orbitfs/quickstart)
#   MNT    where it is mounted     (default: DIR/mnt)
#   NODES  0 or unset: a store within the mount's process; n: that many orbitd on loopback
#   R      copies of everything on them (default: 3, or as many as there are nodes)
#
# What was started is remembered in DIR/pids as "name pid starttime": a pid alone may be somebody
# else's by the time it is to be ended.
set -eu
BIN=$(cd "${BIN:-build/bin}" && pwd)
DIR=${DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/orbitfs/quickstart}
MNT=${MNT:-$DIR/mnt}
NODES=${NODES:-}
R=${R:-}
FIRST_PORT=7400

die() { echo "quickstart: $*" >&2; exit 1; }

starttime() { # of a pid; empty when there is none, or only its corpse
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
	set -- ${stat##*) }
	[ "$1" = Z ] || echo "${20}"
}

running() { # pid starttime
	[ -n "$1" ] && [ "$(starttime "$1")" = "$2" ]
}

remember() { # name pid
	echo "$1 $2 $(starttime "$2")" >>"$DIR/pids"
}

mounted() { awk -v m="$MNT" '{ gsub(/\\040/, " ", $2) } $2 == m && $3 == "fuse.orbitfs" { f = 1 } END { exit !f }' /proc/mounts; }

# ---- start ----

free_port() { # the first from $1 on that nobody listens at
	local p=$1
	while (: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do
		p=$((p + 1))
		[ $p -lt 65536 ] || die "no free port"
	done
	echo "$p"
}

start_node() { # i addr [join]
	if [ -e "$DIR/node$1.pid" ] && running "$(cat "$DIR/node$1.pid")" \
		"$(awk -v n="node$1" '$1 == n { t = $3 } END { print t }' "$DIR/pids" 2>/dev/null)"; then
		return
	fi
	"$BIN/orbitd" --daemon --store "$DIR/node$1" --listen "$2" ${3:+--join "$3"} \
		--log "$DIR/node$1.log" --pid "$DIR/node$1.pid" --config /dev/null
	remember "node$1" "$(cat "$DIR/node$1.pid")"
}

# Waits until all nodes are up and all has its copies.
await_nodes() { # n
	local i
	for ((i = 0; i < 300; i++)); do
		[ "$("$BIN/orbitctl" status --json -o "cluster=$CLUSTER" | grep -o '"up": true' | wc -l)" = "$1" ] &&
			"$BIN/orbitctl" status -o "cluster=$CLUSTER" >/dev/null && return
		sleep 0.1
	done
	"$BIN/orbitctl" status -o "cluster=$CLUSTER" >&2 || true
	die "the nodes do not get well"
}

start_nodes() {
	local i port=$FIRST_PORT addrs=()
	if [ ! -e "$DIR/cluster" ]; then
		for ((i = 1; i <= NODES; i++)); do
			port=$(free_port $port)
			addrs+=("127.0.0.1:$port")
			port=$((port + 1))
		done
		[ -e "$DIR/node1" ] || "$BIN/orbitctl" cluster init --store "$DIR/node1" --addr "${addrs[0]}" \
			--replicas "${R:-$((NODES < 3 ? NODES : 3))}" >/dev/null
	else
		IFS=, read -ra addrs <"$DIR/cluster"
	fi
	CLUSTER=$(IFS=,; echo "${addrs[*]}")
	for ((i = 1; i <= ${#addrs[@]}; i++)); do
		start_node $i "${addrs[i - 1]}" "$([ $i = 1 ] || echo "${addrs[0]}")"
	done
	if [ ! -e "$DIR/cluster" ]; then
		await_nodes ${#addrs[@]}
		"$BIN/orbitctl" mkfs -o "cluster=$CLUSTER"
		echo "$CLUSTER" >"$DIR/cluster"
	fi
}

start() {
	mkdir -p "$DIR"
	DIR=$(cd "$DIR" && pwd)
	MNT=$(realpath -m "$MNT")
	if mounted && ! stat -f "$MNT" >/dev/null 2>&1; then
		echo "the earlier mount has died: mounting anew"
		$UNMOUNT "$MNT"
	fi
	mkdir -p "$MNT"
	if mounted; then
		echo "already mounted."
		usage
		return
	fi
	[ ! -d "$DIR/store" ] || [ -z "$NODES" ] || die "$DIR holds an embedded store: no NODES there"
	[ ! -e "$DIR/cluster" ] || NODES=$(tr , '\n' <"$DIR/cluster" | wc -l)
	if [ "${NODES:-0}" -gt 0 ]; then
		start_nodes
		"$BIN/orbitfs" -o "cluster=$CLUSTER,log=$DIR/mount.log,pid=$DIR/mount.pid" "$MNT"
	else
		if [ ! -e "$DIR/made" ]; then
			"$BIN/orbitctl" mkfs --store "$DIR/store"
			touch "$DIR/made"
		fi
		"$BIN/orbitfs" --store "$DIR/store" -o "log=$DIR/mount.log,pid=$DIR/mount.pid" "$MNT"
	fi
	remember mount "$(cat "$DIR/mount.pid")"
	usage
}

usage() {
	echo "orbitfs is mounted on $MNT; its data and logs are in $DIR"
	echo "  use it:      cp -r /etc/skel $MNT/ && ls -la $MNT"
	echo "  unmount it:  ${UNMOUNT} $MNT"
	[ ! -e "$DIR/cluster" ] || echo "  look at it:  $BIN/orbitctl status -o cluster=$(cat "$DIR/cluster")"
	echo "  end it all:  make quickstop${GIVEN}"
}

# ---- stop ----

stop() {
	local name pid start
	[ -d "$DIR" ] || { echo "nothing was started in $DIR"; return; }
	DIR=$(cd "$DIR" && pwd)
	MNT=$(realpath -m "$MNT")
	if mounted; then
		$UNMOUNT "$MNT" || die "$MNT: still in use"
	fi
	# the mount ends by itself once it is unmounted; the nodes it talks to must wait for that
	while read -r name pid start; do
		[ "$name" = mount ] || ! running "$pid" "$start" || kill "$pid"
		for ((i = 0; i < 400; i++)); do
			running "$pid" "$start" || break
			sleep 0.1
		done
		! running "$pid" "$start" || die "$name (pid $pid) does not end"
	done < <(sort "$DIR/pids" 2>/dev/null)
	rm -f "$DIR/pids"
	echo "stopped; the files stay in $DIR"
}

UNMOUNT=umount
[ "$(id -u)" = 0 ] || UNMOUNT="fusermount3 -u"
GIVEN=${GIVEN:-}
case ${1:-} in
start) start ;;
stop) stop ;;
*) die "start or stop?" ;;
esac
