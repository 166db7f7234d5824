#!/bin/bash
# run.sh RESULTS SECONDS NAME COMMAND...: runs one test program. One line when it passes, all of its
# output when it fails or takes longer. Adds "passed failed" to the file RESULTS.
set -u
results=$1 limit=$2 name=$3
shift 3
mkdir -p "$(dirname "$results")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
begin=$(date +%s%N)
# a test that runs away must not take the machine with it (sanitizers reserve far more)
[ -n "${VARIANT:-}" ] || ulimit -v 8388608
timeout -k 10 "$limit" "$@" >"$log" 2>&1
rc=$?
took=$((($(date +%s%N) - begin) / 10000000))
# cmocka: "[  PASSED  ] 4 test(s)."; others may end with "4 passed, 0 failed"
read -r passed failed < <(awk '
	/^\[  PASSED  \] [0-9]+ test/ { p += $4 }
	/^\[  FAILED  \] [0-9]+ test/ { f += $4 }
	/^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 }
	END { print p + 0, f + 0 }' "$log")
if [ $rc -eq 0 ] && [ "$failed" -eq 0 ]; then
	[ "$passed" -gt 0 ] || passed=1
	printf 'ok    %-28s %5d passed %6d.%02d s\n' "$name" "$passed" $((took / 100)) $((took % 100))
	echo "$passed 0" >>"$results"
	exit 0
fi
[ "$failed" -gt 0 ] || failed=1
cat "$log"
[ $rc -eq 124 ] && echo "$name: still running after $limit s: killed"
printf 'FAIL  %-28s %5d passed, %d failed, exit code %d\n' "$name" "$passed" "$failed" $rc
echo "$passed $failed" >>"$results"
exit 1
