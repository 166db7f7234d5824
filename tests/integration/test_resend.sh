# One of three nodes is killed and started again during work, with one copy of everything: who needs
# it waits, nobody sees an error.
# limit: 240
. tests/integration/lib.sh

start_cluster 3 --replicas 1
mount_cluster

# ms from the node's "accepting" to the mount's "connection is back", with something to send again
resent_within() { # LIMIT NODE
	awk -v limit="$1" -v node="$D/node$2.log" -v peer="peer=${ADDR[$2]} " '
		function ts() { match($0, /ts=[0-9.]+/); return substr($0, RSTART + 3, RLENGTH - 3) + 0 }
		BEGIN { while ((getline < node) > 0) if (/msg="accepting"/) up = ts() }
		/msg="connection is back"/ && index($0, peer) && ts() + 0.01 >= up && !seen {
			seen = ts()
			match($0, /resent=[0-9]+/)
			n = substr($0, RSTART + 7, RLENGTH - 7)
		}
		END {
			if (!seen) { print "no resend in the log"; exit 1 }
			printf "resent %d after %.1f ms\n", n, (seen - up) * 1000
			exit (seen - up) * 1000 > limit || n < 1
		}' "$D/mount.log"
}

victim=2
head -c 100000000 /dev/urandom >"$D/data"
dd if="$D/data" of="$M/dd" bs=1M conv=fsync status=none &
job=$!
"$TOOLS/helper" create-many "$M" 3000 &
job2=$!
sleep 0.3
kill_node $victim
sleep 3
start_node $victim
check "dd ends well" wait $job
check "creates end well" wait $job2
check "resent at once" resent_within 100 $victim
check "content" cmp "$D/data" "$M/dd"
is "files" "$(find "$M" -name 'file*' | wc -l)" 3000
check "unmount" unmount
if [ -x "$BIN/fsck.orbitfs" ]; then
	check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
fi
