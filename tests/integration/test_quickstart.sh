# make quickstart, twice, and quickstop; embedded and with three nodes.
. tests/integration/lib.sh

quick() { # start|stop [NODES]
	BIN=$BIN DIR=$D/q MNT=$M NODES=${2:-} tools/quickstart.sh "$1"
}

for nodes in "" 3; do
	check "start" quick start $nodes
	check "mounted" is_mounted
	echo "hello $nodes" >"$M/hello"
	check "start again" sh -c "BIN='$BIN' DIR='$D/q' MNT='$M' tools/quickstart.sh start | grep -q 'already mounted'"
	check "stop" quick stop
	refuse "unmounted" is_mounted
	check "start anew" quick start
	is "the same files" "$(cat "$M/hello")" "hello $nodes"
	pid=$(cat "$D/q/mount.pid")
	[ -z "$nodes" ] || check "nodes run" alive "$(cat "$D/q/node2.pid")"
	kill -9 "$pid"
	check "start after the mount died" quick start
	is "the same files" "$(cat "$M/hello")" "hello $nodes"
	[ -z "$nodes" ] || node=$(cat "$D/q/node2.pid")
	check "stop" quick stop
	[ -z "$nodes" ] || check "nodes ended" dead "$node"
	rm -rf "$D/q"
done
