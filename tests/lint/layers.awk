# Checks that no file includes what stands above it. Prints each wrong include; exit 1 if any.
#
# dht/ and fs/ are houses of rooms; a room includes itself and the rooms below. The client stands
# on all of dht/ below the keeper. fs/ sees of dht/ only what is listed. tools/ and tests/ may
# include everything, and nothing includes them but they themselves.

BEGIN {
	n = split("base net wire store ring txn keeper node", room, " ")
	for (i = 1; i <= n; i++)
		for (j = 1; j <= i; j++)
			may["dht/" room[i], "dht/" room[j]] = 1
	for (i = 1; i <= 6; i++)
		may["dht/client", "dht/" room[i]] = 1
	may["dht/client", "dht/client"] = 1

	n = split("layout cache ops fuse", floor, " ")
	for (i = 1; i <= n; i++)
		for (j = 1; j <= i; j++)
			may["fs/" floor[i], "fs/" floor[j]] = 1
	may["fs/check", "fs/layout"] = may["fs/check", "fs/check"] = 1
	seen_by_fs = "^dht/(client|txn|net|base|ring|wire)/|^dht/store/key\\.h$"
}

function room_of(path, part) {
	split(path, part, "/")
	return part[1] "/" part[2]
}

function wrong(why) {
	printf "%s:%d: %s: %s\n", FILENAME, FNR, why, inc
	bad = 1
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
	inc = $0
	sub(/^[^"]*"/, "", inc)
	sub(/".*/, "", inc)
	from = room_of(FILENAME)
	to = room_of(inc)
	if (inc !~ /^(dht|fs)\/[a-z]+\/|^(tools|tests)\//)
		wrong("an include is written from the top of the tree")
	else if (FILENAME ~ /^(tools|tests)\//) {
		if (FILENAME ~ /^tools\// && inc ~ /^tests\//)
			wrong("a tool includes a test")
	} else if (inc ~ /^(tools|tests)\//)
		wrong("a room includes a tool or a test")
	else if (from ~ /^fs\// && inc ~ /^dht\//) {
		if (inc !~ seen_by_fs)
			wrong("fs/ may not see this part of dht/")
	} else if (!((from, to) in may))
		wrong(from " may not include " to)
}

END { exit bad }
