# kill -9 of the embedded mount in mid-write: what was fsynced is there.
. tests/integration/lib.sh

start_embedded
for round in 1 2 3; do
	"$TOOLS/helper" log-records "$M/log" >"$D/synced" 2>/dev/null &
	touch "$D/go"
	(while [ -e "$D/go" ] && cp /bin/bash "$M/copy.$RANDOM"; do :; done) 2>/dev/null &
	check "records are written" wait_for 20 [ -s "$D/synced" ]
	sleep 0.$((round * 3))
	rm "$D/go"
	kill_mount
	wait
	last=$(tail -n 1 "$D/synced")
	mount_store
	seen=$(timeout 4 stat -c %s "$M/log") # nobody else can have held it: it is there at once
	check "all that was synced is there ($last, size $seen)" [ "$seen" -ge $(((last + 1) * 16)) ]
	is "and right" "$(head -c $(((last + 1) * 16)) "$M/log" | md5sum)" \
		"$(for ((i = 0; i <= last; i++)); do printf '%015u\n' $i; done | md5sum)"
	check "the mount works" touch "$M/after$round"
	check "goes on" rm -f "$M/log" "$M"/copy.*
done
check "unmount" unmount
if [ -x "$BIN/fsck.orbitfs" ]; then
	"$BIN/fsck.orbitfs" -n --store "$STORE" >"$D/fsck.log" 2>&1
	rc=$?
	if [ $rc -eq 4 ]; then # errors left: then they can be repaired
		"$BIN/fsck.orbitfs" -y --store "$STORE" >>"$D/fsck.log" 2>&1
		"$BIN/fsck.orbitfs" -n --store "$STORE" >>"$D/fsck.log" 2>&1
		rc=$?
	fi
	is "fsck" $rc 0
fi
