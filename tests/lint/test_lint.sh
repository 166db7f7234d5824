#!/bin/bash
# The checks must find what they are for: each case is one line of C that has to be refused or let
# through in a given file.
set -u
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0 failed=0

case_is() { # refused|fine CHECK FILE LINE...
	local want=$1 check=$2 file=$3 got=fine
	shift 3
	mkdir -p "$(dirname "$file")"
	printf '%s\n' "$@" >"$file"
	awk -f "$here/$check.awk" "$file" >/dev/null || got=refused
	if [ $got = "$want" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "$check: wants $want, got $got: $file: $*"
	fi
}

inc() { case_is "$1" layers "$2" "#include \"$3\""; }
inc refused dht/net/a.c dht/wire/wire.h
inc refused dht/store/a.c dht/node/node.h
inc refused dht/base/a.h dht/net/env.h
inc refused dht/client/a.c dht/node/node.h
inc refused dht/client/a.c dht/keeper/keeper.h
inc refused dht/node/a.c dht/client/orbit.h
inc refused dht/node/a.c fs/layout/layout.h
inc refused dht/net/a.c env.h
inc refused dht/net/a.c ../base/buf.h
inc refused dht/net/a.c tools/common/opt.h
inc refused fs/layout/a.c fs/ops/fs.h
inc refused fs/ops/a.c fs/fuse/fuse.h
inc refused fs/ops/a.c dht/node/node.h
inc refused fs/ops/a.c dht/store/store.h
inc refused fs/check/a.c fs/ops/fs.h
inc refused fs/check/a.c dht/store/store.h
inc fine dht/node/a.c dht/base/buf.h
inc fine dht/node/a.c dht/node/session.h
inc fine dht/client/a.c dht/txn/txn.h
inc fine dht/client/a.c dht/store/key.h
inc fine fs/fuse/a.c dht/net/loop.h
inc fine fs/check/a.c dht/client/orbit.h
inc fine fs/ops/a.c dht/store/key.h
inc fine tools/orbitd/a.c dht/node/node.h
inc fine tests/unit/a.c fs/ops/mount.h
case_is fine layers dht/base/a.c '#include <stdio.h>'

call() { local want=$1 file=$2; shift 2; case_is "$want" calls "$file" "$@"; }
call refused dht/node/a.c 'x = time(NULL);'
call refused dht/client/a.c '	clock_gettime(CLOCK_MONOTONIC, &ts);'
call refused fs/ops/a.c 'if (rand() % 2)'
call refused fs/ops/a.c 'fd = socket(AF_INET, SOCK_STREAM, 0);'
call refused tools/orbitd/a.c 'strcpy(a, b);'
call refused dht/base/a.c 'n = sprintf(a, "%d", 1);'
call refused dht/base/a.c '/* one' 'two */ usleep(5);'
call refused fs/ops/a.h 'typedef struct foo foo;'
call fine dht/net/a.c 'fd = socket(AF_INET, SOCK_STREAM, 0);'
call fine tools/orbitd/a.c 'x = time(NULL);'
call fine dht/node/a.c 'x = env_now(e); /* not time(NULL) */'
call fine dht/node/a.c '/* no' ' * time(x)' ' */'
call fine dht/node/a.c 'snprintf(a, n, "time(%d)", 1);'
call fine dht/node/a.c 'e->ops->random(e, out, len);'
call fine dht/node/a.c 'mytime(1); e->time(2);'

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
