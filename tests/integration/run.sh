#!/bin/bash
# run.sh RESULTS [NAME...]: runs each test_*.sh of FOLDER (tests/integration) (or only those named) in a folder
# of its own, one after the other. Needs root or a fusermount3 that works, and /dev/fuse: where
# these are there nothing is skipped.
set -u
cd "$(dirname "$0")/../.."
results=$1
shift
folder=${FOLDER:-tests/integration}
export OUT=${OUT:-build}
export BIN=$PWD/$OUT/bin TOOLS=$PWD/$OUT/tests/integration
[[ $OUT = /* ]] && BIN=$OUT/bin TOOLS=$OUT/tests/integration
if [ ! -c /dev/fuse ]; then
	echo "skip  integration: there is no /dev/fuse here"
	exit 0
fi
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
	for t in "$folder"/test_*.sh; do
		t=${t##*/test_}
		names+=("${t%.sh}")
	done
fi
rc=0
for name in "${names[@]}"; do
	D=$(mktemp -d "${TMPDIR:-/tmp}/orbitfs-test.XXXXXX")
	export D
	limit=$(sed -n 's/^# limit: \([0-9]*\)$/\1/p' "$folder/test_$name.sh")
	if tests/run.sh "$results" "${limit:-120}" "$name" bash "$folder/test_$name.sh"; then
		rm -rf --one-file-system "$D"
	else
		rc=1
		echo "      what it left: $D"
	fi
done
exit $rc
