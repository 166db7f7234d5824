#!/bin/bash
# check.sh MAKE OUT JOBS STAGE...: cleans OUT, makes each stage, and sums what they counted. A stage
# that fails before it counts anything (a compiler's error) counts as one failure.
set -u
make=$1 out=$2 jobs=$3
shift 3
unset MAKEFLAGS MFLAGS MAKELEVEL
results=$out/results
failures() { awk '{ f += $2 } END { print f + 0 }' "$results"; }

rm -rf "$out"
mkdir -p "$out"
: >"$results"
$make deps || { echo "0 passed, 1 failed"; exit 1; }
for stage in "$@"; do
	echo "== $stage"
	before=$(failures)
	case $stage in
	# tests run one after the other; what they need is compiled side by side
	unit | sim | model | crash-quick | integration) $make -j"$jobs" "build-$stage" && $make "$stage" ;;
	*) $make -j"$jobs" "$stage" ;;
	esac || [ "$(failures)" -gt "$before" ] || echo "0 1" >>"$results"
done
awk '{ p += $1; f += $2 } END { printf "%d passed, %d failed\n", p, f; exit f > 0 }' "$results"
