# One of three nodes is killed and started again during work: nobody sees an error.
# limit: 240
. tests/integration/lib.sh

start_cluster 3
mount_cluster

resent_within() { # ms after the node said "accepting"; from the mount's log
	awk -v limit="$1" -v node="$D/node$2.log" '
		function ts() { match($0, /ts=[0-9.]+/); return substr($0, RSTART + 3, RLENGTH - 3) }
		BEGIN { while ((getline < node) > 0) if (/msg="accepting"/) up = ts() }
		/msg="resen[dt]/ && ts() >= up && !seen { seen = ts() }
		END { if (!seen) { print "no resend in the log"; exit 1 }
			ms = (seen - up) * 1000; printf "resent after %.0f ms\n", ms; exit ms > limit }' "$D/mount.log"
}

victim=2
head -c 100000000 /dev/urandom >"$D/data"
dd if="$D/data" of="$M/dd" bs=1M conv=fsync status=none &
job=$!
"$TOOLS/helper" create-many "$M" 3000 &
job2=$!
sleep 0.3
kill_node $victim
sleep 1
start_node $victim
check "dd ends well" wait $job
check "creates end well" wait $job2
check "resent at once" resent_within 500 $victim
check "content" cmp "$D/data" "$M/dd"
is "files" "$(find "$M" -name 'file*' | wc -l)" 3000
check "unmount" unmount
if [ -x "$BIN/fsck.orbitfs" ]; then
	check "fsck" "$BIN/fsck.orbitfs" -n -o "cluster=$CLUSTER"
fi
