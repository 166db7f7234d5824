#!/bin/bash
# Do the tests and mutations exist that docs/TESTING.md says fail without a rule? Has each rule some?
set -u
cd "$(dirname "$0")/../.."
rc=0
wrong() {
	echo "docs/TESTING.md: $*"
	rc=1
}
rows=0
while IFS='|' read -r _ rule tests mutations _; do
	rows=$((rows + 1))
	names=$(grep -o '`[^`]*`' <<<"$tests" | tr -d '`')
	breaks=$(grep -o '`[^`]*`' <<<"$mutations" | tr -d '`')
	[ -n "$names" ] || wrong "no test for:$rule"
	for name in $names; do
		grep -qE "^static void $name\(" tests/unit/test_*.c || wrong "no test is called $name"
	done
	for name in $breaks; do
		grep -q "^$name " tests/sim/mutations.sh || wrong "no mutation is called $name"
	done
done < <(sed -n '/^## What fails without a rule/,$p' docs/TESTING.md | grep '^| ' | tail -n +3)
[ $rows -gt 0 ] || wrong "there are no rules"
exit $rc
