#!/bin/bash
# run.sh DIR [options of posix-suite] -- [cases]: the conformance suite on DIR, or, if that is "", on a
# plain folder and on an embedded mount.
set -u
dir=$1
shift
args=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	args+=("$1")
	shift
done
shift
if [ -n "$dir" ]; then
	exec "$OUT/tests/posix/posix-suite" "${args[@]}" "$dir" "$@"
fi
export BIN=$OUT/bin TOOLS=$OUT/tests/integration ARGS="${args[*]}" CASES="$*" KINDS="${KINDS:-plain embedded}"
[[ $OUT = /* ]] || export BIN=$PWD/$BIN TOOLS=$PWD/$TOOLS
D=$(mktemp -d "${TMPDIR:-/tmp}/orbitfs-posix.XXXXXX")
export D
bash tests/integration/test_posix.sh && rm -rf --one-file-system "$D"
