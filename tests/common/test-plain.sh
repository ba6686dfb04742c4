#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Tests the harness in plain.c: runs plain-demo, whose tests fail in all ways on purpose.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ $# -ne 1 ] || [ "$1" = --help ]; then
	echo "Usage: test-plain.sh PLAIN-DEMO"
	echo "Prints TAP: whether the harness judges each test of PLAIN-DEMO rightly."
	[ $# -eq 1 ]
	exit
fi
demo=$1
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch" /dev/shm/plain-tarn-left' EXIT

n=0
bad=0
check() { # check WHAT COMMAND...: TAP for whether the command succeeds
	local what=$1 verdict=ok
	shift
	"$@" || verdict="not ok" bad=1
	n=$((n + 1))
	echo "$verdict $n - $what"
}

rm -f /dev/shm/plain-tarn-left
status=0
"$demo" >"$scratch/out" 2>&1 || status=$?

expect() { # expect NAME VERDICT [TEXT]: the verdict on NAME, and the comment right before it
	local name=$1 verdict=$2 text=${3:-}
	awk -v want="^$verdict [0-9]+ - $name\$" -v text="$text" '
		$0 ~ want { found = 1; exit !(text == "" || index(before, text)) }
		/^(not )?ok [0-9]+ - [a-z_]+( # .*)?$/ { before = ""; next }
		{ before = before "\n" $0 }
		END { if (!found) exit 1 }' "$scratch/out"
}

echo "TAP version 13"
check "exit status tells that tests failed" [ "$status" -eq 1 ]
for name in passes passes_with_a_child passes_and_leaves_children_in_its_group \
	passes_with_a_runtime_directory_of_its_own passes_and_cleans_up_its_name \
	prints_a_line_that_is_not_a_verdict; do
	check "$name" expect "$name" ok
done
check is_skipped expect "is_skipped # SKIP because 42" ok
check fails_a_check expect fails_a_check "not ok" "two + 1 == 4: 3 is not 4"
check fails_in_a_thread expect fails_in_a_thread "not ok" "in a thread"
check "failure of a grandchild" \
	expect fails_in_a_grandchild_while_the_test_waits_for_ever "not ok" "in a grandchild"
check "failure that nobody asks for" \
	expect fails_in_a_child_that_nobody_asks "not ok" unnoticed
check crashes expect crashes "not ok" "signal 6"
check exits expect exits "not ok" "exit status 3"
check hangs expect hangs "not ok" "did not end within"
check "process in another session" \
	expect leaves_a_process_in_another_session "not ok" "left processes outside its group"
check "name left in /dev/shm" \
	expect leaves_a_name "not ok" "left /dev/shm/plain-tarn-left behind"

"$demo" prints_a_line_that_is_not_a_verdict >"$scratch/tap" 2>"$scratch/err" || true
check "what tests print goes to stderr" grep -q "^not ok 1 - printed" "$scratch/err"
not_in_tap() {
	! grep -q "$1" "$scratch/tap"
}
check "and not to stdout" not_in_tap printed
no_demo_lives() {
	local exe
	exe=$(realpath -- "$demo")
	! find /proc -maxdepth 2 -path '/proc/[0-9]*/exe' -lname "$exe" 2>/dev/null | grep -q .
}
check "no process is left" no_demo_lives
dir=$(sed -n 's/^directory //p' "$scratch/out")
check "directories are removed" [ -n "$dir" -a ! -e "$dir" ]

check "--list" [ "$("$demo" --list | wc -l)" -eq "$(sed -n 's/^1\.\.//p' "$scratch/out")" ]
check "selection by name" [ "$("$demo" passes is_skipped 2>&1 | grep -c '^ok')" -eq 2 ]
check "selection by pattern" [ "$("$demo" --list 'fails_*' | wc -l)" -eq 4 ]
unknown_name() {
	! "$demo" nosuch >/dev/null 2>"$scratch/err" && grep -q "'nosuch'" "$scratch/err"
}
check "unknown name" unknown_name
echo "1..$n"
if [ $bad -ne 0 ]; then
	sed 's/^/# /' "$scratch/out" >&2
fi
exit $bad
