#!/bin/bash
# lint.sh RESULTS: all checks of the source; each counts as one test.
set -u
cd "$(dirname "$0")/../.."
results=$1
mapfile -t sources < <(find dht fs tools tests -name '*.[ch]' | sort)
rc=0
check() { tests/run.sh "$results" 120 "$@" || rc=1; }

check lint-layers awk -f tests/lint/layers.awk "${sources[@]}"
check lint-calls awk -f tests/lint/calls.awk "${sources[@]}"
check lint-format clang-format --dry-run -Werror "${sources[@]}"
check lint-rules tests/lint/rules.sh
check lint-self tests/lint/test_lint.sh
mapfile -t scripts < <(find tools tests .ci -name '*.sh' -o -path .ci/run)
check lint-shell bash -c 'for f; do bash -n "$f" || exit 1; done' bash "${scripts[@]}"
exit $rc
