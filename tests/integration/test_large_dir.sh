# A folder of 100,000 entries: made, listed, changed while it is listed, removed.
# limit: 300
. tests/integration/lib.sh

start_embedded
N=100000
mkdir "$M/large"
check "create" timed "$TOOLS/helper" create-many "$M/large" $N
echo "create: $TOOK ms"
check "list" timed sh -c "ls -f '$M/large' | wc -l >'$D/n'"
echo "list: $TOOK ms"
is "names and . and .." "$(cat "$D/n")" $((N + 2))
check "a name is found" [ -f "$M/large/file077777" ]
check "readdir while unlinking" timed "$TOOLS/helper" readdir-while-unlinking "$M/large" $N
echo "unlink half: $TOOK ms"
is "half is left" "$(find "$M/large" -type f | wc -l)" $((N / 2))
check "unmount" unmount
