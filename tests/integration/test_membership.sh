# Under load: a fourth node comes, changes its ID, one changes its address, one leaves and is removed, one
# dies for good. No error, and
# not more is copied than placement requires.
# limit: 150
. tests/integration/lib.sh

start_cluster 3 --replicas 2 --shards 256
mount_cluster
head -c 60000000 /dev/urandom >"$D/data"
cp "$D/data" "$M/data"
start_load 2 2000

# What a change made necessary, and what was copied: copies that there are now and were not before,
# and what the nodes say they have made.
begin_change() {
	copies >"$D/before"
	MADE=$(figure learn.shards_done)
	BYTES=$(figure learn.bytes)
}
end_change() { # WHAT
	local needed made all
	wait_healthy
	copies >"$D/after"
	needed=$(comm -13 "$D/before" "$D/after" | wc -l)
	all=$(wc -l <"$D/after")
	made=$(($(figure learn.shards_done) - MADE))
	echo "$1: $made copies of $all made, optimum $needed ($((needed * 1000 / all)) per mille), $((($(figure learn.bytes) - BYTES) / 1024)) KiB sent"
	check "$1: every copy that was needed was made" [ $made -ge $needed ]
	check "$1: hardly more was copied than needed: $made for $needed" [ $made -le $((needed + needed / 10 + 8)) ]
	check "$1: the load goes on" alive $LOAD
	check "$1: content" cmp "$D/data" "$M/data"
}

begin_change
add_node
end_change "a fourth node joins"
share=$(grep -c ' 4$' "$D/after")
check "it has about a quarter: $share of $(wc -l <"$D/after")" [ "$share" -gt 80 ] && [ "$share" -lt 180 ]

begin_change
check "rename" "$BIN/orbitctl" node rename 4 -o "cluster=$CLUSTER"
end_change "it changes its ID"

# a node that comes back under another address
begin_change
stop_node 3
free_port
ADDR[3]=127.0.0.1:$PORT
CLUSTER=$(IFS=,; echo "${ADDR[*]}")
start_node 3
wait_healthy
is "its new address" "$("$BIN/orbitctl" ring show -o "cluster=$CLUSTER" | awk '$1 == 3 { print $3 }')" "${ADDR[3]}"
echo there >"$M/moved"
check "it is used" cmp "$D/data" "$M/data"

drained() { ! copies | grep -q ' 2$'; }
begin_change
check "leave" "$BIN/orbitctl" node leave 2 -o "cluster=$CLUSTER"
check "it is drained" wait_for 60 drained
end_change "node 2 leaves"
is "it has nothing" "$(copies | grep -c ' 2$')" 0
errs "not while it is up" "" "$BIN/orbitctl" node remove 2 -o "cluster=$CLUSTER"
stop_node 2
check "remove" "$BIN/orbitctl" node remove 2 -o "cluster=$CLUSTER"
NNODES=3
wait_healthy
is "it is gone" "$("$BIN/orbitctl" ring show -o "cluster=$CLUSTER" | grep -c '^ *2 ')" 0

# one that dies for good
begin_change
MADE=$((MADE - $(figure learn.shards_done 3))) # nobody will say it any more
BYTES=$((BYTES - $(figure learn.bytes 3)))
kill_node 3
check "remove a dead one" wait_for 10 "$BIN/orbitctl" node remove 3 -o "cluster=$CLUSTER"
NNODES=2
end_change "a dead node is removed"

end_load
check "unmount" unmount
check "copies are equal" "$BIN/orbitctl" verify -o "cluster=$CLUSTER"
mount_cluster
check "everything is there" "$TOOLS/load" verify "$M" "$D/load.state"
check "unmount" unmount
check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
