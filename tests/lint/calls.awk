# Checks for calls that have no place in a file. Prints each; exit 1 if any.
#
# Time, chance and sockets come from the env (dht/net/env.h): a simulator replays a whole cluster
# from one seed only if nobody asks the machine. Unbounded string functions have no place anywhere.

function strip(line, out, at) {
	# comments and strings are not calls
	gsub(/\\\\|\\"/, "", line)
	gsub(/"[^"]*"/, "\"\"", line)
	out = ""
	while (line != "") {
		if (in_comment) {
			at = index(line, "*/")
			if (!at)
				return out
			line = substr(line, at + 2)
			in_comment = 0
		}
		at = match(line, /\/\*|\/\//)
		if (!at)
			return out line
		out = out substr(line, 1, at - 1)
		if (substr(line, at, 2) == "//")
			return out
		line = substr(line, at + 2)
		in_comment = 1
	}
	return out
}

function forbid(code, names, why, re) {
	re = "(^|[^A-Za-z0-9_>.])(" names ")[ \t]*\\("
	if (match(code, re)) {
		printf "%s:%d: %s: %s\n", FILENAME, FNR, why, $0
		bad = 1
	}
}

FNR == 1 { in_comment = 0 }

{
	code = strip($0)
	forbid(code, "strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca", "unbounded or unchecked")
	if (code ~ /^[ \t]*typedef[ \t]+(struct|union)/) {
		printf "%s:%d: a typedef hides a struct: %s\n", FILENAME, FNR, $0
		bad = 1
	}
	# net/ is the env; a worker of the store's real index may wait for RocksDB
	if (FILENAME ~ /^(dht|fs)\// && FILENAME !~ /^dht\/net\// &&
		FILENAME != "dht/base/log.c" && FILENAME != "dht/store/index_rocks.c")
		forbid(code, "time|gettimeofday|clock_gettime|clock|random|rand|srand|srandom|drand48|" \
			"getrandom|getentropy|RAND_bytes|socket|socketpair|accept|accept4|connect|listen|" \
			"sleep|usleep|nanosleep", "only the env may")
}

END { exit bad }
