# Bad input: one clear line, a code that is not 0, and nothing lost.
. tests/integration/lib.sh

one_line() { # CODE TEXT COMMAND...: exits with CODE and says one line with TEXT
	local want=$1 text=$2 out rc
	shift 2
	out=$(timeout 30 "$@" 2>&1)
	rc=$?
	if [ $rc -eq "$want" ] && [ "$(wc -l <<<"$out")" = 1 ] && grep -qiF -- "$text" <<<"$out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: wants code $want and a line with \"$text\", got $rc: $out: ${*##*/}   (line ${BASH_LINENO[0]})"
	fi
}

make_store
orbitfs=$BIN/orbitfs orbitd=$BIN/orbitd orbitctl=$BIN/orbitctl

# options
one_line 1 "unknown option: -o frob" $orbitfs --store "$STORE" -o frob "$M"
one_line 1 "unknown option" $orbitfs --frob "$M"
one_line 1 "resend_count" $orbitfs --store "$STORE" -o soft,resend_count=many "$M"
one_line 1 "check_timeout" $orbitfs --store "$STORE" -o check_timeout=1parsec "$M"
one_line 1 "reads" $orbitfs --store "$STORE" -o reads=maybe "$M"
one_line 1 "write_behind" $orbitfs --store "$STORE" -o write_behind=-1 "$M"
one_line 1 "what to mount" $orbitfs "$M"
one_line 1 "where to mount" $orbitfs --store "$STORE"
one_line 1 "not both" $orbitfs --store "$STORE" -o cluster=localhost:1 "$M"
one_line 1 "b:2" $orbitfs -o cluster=localhost:1,,b:2 "$M"
one_line 1 "cluster" $orbitfs -o cluster= "$M"
one_line 1 "neither" $orbitfs nonsense "$M"
one_line 32 "no such file" $orbitfs --store "$STORE" "$D/nowhere"
touch "$D/a file"
one_line 32 "not a directory" $orbitfs --store "$STORE" "$D/a file"
one_line 2 "unknown flag" $orbitd --frob
one_line 2 "listen" $orbitd --store "$D/x"
one_line 2 "log-level" $orbitd --store "$D/x" --listen 127.0.0.1:1 --log-level loud
printf 'frob = 1\n' >"$D/conf"
one_line 2 "frob" $orbitd --config "$D/conf"
one_line 2 "nothere" $orbitd --config "$D/nothere"
one_line 2 "unknown command" $orbitctl frob
one_line 2 "not an option here" $orbitctl ping x:1 --name y
one_line 2 "want --store" $orbitctl status
one_line 2 "want -o cluster" $orbitctl node leave 1
one_line 2 "want --addr" $orbitctl cluster init --store "$D/x"
one_line 2 "bad value" $orbitctl cluster init --store "$D/x" --addr x:1 --shards 1000
one_line 2 "bad value" $orbitctl cluster init --store "$D/x" --addr x:1 --replicas 8
one_line 2 "--advertise" $orbitd --store "$D/x" --listen 0.0.0.0:7400 --join x:1

# nobody there
free_port
one_line 32 "refused" $orbitfs -o "cluster=127.0.0.1:$PORT,timeout=1s" "$M"
one_line 1 "refused" $orbitctl ping "127.0.0.1:$PORT" --timeout 1s
one_line 1 "refused" $orbitctl status -o "cluster=127.0.0.1:$PORT" --timeout 1s

# stores
one_line 32 "no store there" $orbitfs --store "$D/none" "$M"
one_line 1 "--join" $orbitd --config /dev/null --store "$D/none" --listen "127.0.0.1:$PORT"
one_line 1 "not an address" $orbitd --config /dev/null --store "$D/none" --listen "127.0.0.1:$PORT" --join nowhere --log "$D/orbitd.log"
mkdir "$D/full"
touch "$D/full/mine"
one_line 1 "not empty" $orbitctl mkfs --store "$D/full"
one_line 1 "already" $orbitctl mkfs --store "$STORE"
one_line 1 "not empty" $orbitctl cluster init --store "$D/full" --addr x:1
one_line 1 "already" $orbitctl cluster init --store "$STORE" --addr x:1
orbitd="$orbitd --log $D/orbitd.log"
mount_store
echo precious >"$M/file"
one_line 32 "in use" $orbitfs --store "$STORE" "$D/full"
one_line 1 "in use" $orbitctl ls --store "$STORE"
one_line 1 "in use" $orbitd --config /dev/null --store "$STORE" --listen "127.0.0.1:$PORT"
check "unmount" unmount

# a cluster
first_node
mkdir "$D/other"
one_line 1 "in use" $orbitd --config /dev/null --store "$D/port" --join "${ADDR[1]}" --listen "${ADDR[1]}"
one_line 1 "not empty" $orbitd --config /dev/null --store "$D/full" --join "${ADDR[1]}" --listen "127.0.0.1:$PORT"
one_line 1 "already" $orbitctl cluster init --store "$D/node1" --addr "${ADDR[1]}"
one_line 32 "no filesystem" $orbitfs -o "cluster=$CLUSTER,timeout=3s" "$M"
check "mkfs" "$orbitctl" mkfs -o "cluster=$CLUSTER"
one_line 1 "already" $orbitctl mkfs -o "cluster=$CLUSTER"
one_line 3 "no such node" $orbitctl node leave 7 -o "cluster=$CLUSTER"
one_line 2 "want a weight" $orbitctl node weight 1 heavy -o "cluster=$CLUSTER"
one_line 2 "64 hex digits" $orbitctl node rename 1 --to x -o "cluster=$CLUSTER"
one_line 2 "want 1 to" $orbitctl cluster replicas 9 -o "cluster=$CLUSTER"

# a store of another cluster
cp -a "$STORE" "$D/foreign"
free_port
one_line 1 "another filesystem" $orbitd --config /dev/null --store "$D/foreign" --join "${ADDR[1]}" --listen "127.0.0.1:$PORT"

# forged and truncated messages close the link, and the node lives on
port=${ADDR[1]##*:}
send() { # what to send: the node must close the connection by itself
	timeout 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port; printf '$1' >&3; cat <&3 >/dev/null"
	[ $? -ne 124 ]
}
check "garbage" send 'GET / HTTP/1.1\r\nHost: x\r\n\r\n________________'
check "2 GiB announced" send 'FBRO\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'
head -c 100000 /dev/urandom >"$D/noise"
timeout 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port; cat '$D/noise' >&3; cat <&3 >/dev/null" 2>/dev/null
is "noise: closed" "$([ $? -ne 124 ]; echo $?)" 0
check "the node lives on" "$orbitctl" ping "${ADDR[1]}"
check "it wrote a line" grep -q 'lvl=warn' "$D/node1.log"
mount_cluster
echo y >"$M/y"
check "unmount" unmount
check "node stops" stop_node 1
one_line 32 "cluster" $orbitfs --store "$D/node1" "$M"

# damage: what it hits gives EIO, the rest is served
is "nothing was lost" "$(mount_store && cat "$M/file")" precious
yes 'a line of the file that will be hit' | head -c 3000000 >"$M/hit"
check "unmount" unmount
seg=$(grep -l 'a line of the file' "$STORE"/log-* | head -1)
at=$(grep -abo 'a line of the file' "$seg" | tail -n 1000 | head -1 | cut -d: -f1)
printf '\xff' | dd of="$seg" bs=1 seek="$at" conv=notrunc status=none
mount_store
errs "what is damaged" "input/output error" cat "$M/hit"
is "what is not" "$(cat "$M/file")" precious
check "it wrote a line" grep -q 'lvl=error' "$D/mount.log"
check "unmount" unmount

# a newer format
cp -a "$STORE" "$D/newer"
printf '\xff' | dd of="$D/newer/META" bs=1 seek=8 conv=notrunc status=none
one_line 32 "" $orbitfs --store "$D/newer" "$M"
