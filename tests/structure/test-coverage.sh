#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# docs/coverage.md names tests: each name must be a test's, or a file's.
# shellcheck disable=SC2317,SC2016  # functions are called by check; backticks are text
set -euo pipefail

if [ "${1:-}" = --help ]; then
	echo "Usage: test-coverage.sh"
	echo "Prints TAP: whether every test that docs/coverage.md names exists."
	exit
fi
# shellcheck source=tests/structure/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

missing() {
	local name
	while IFS= read -r name; do
		case $name in
		*/*) [ -e "$name" ] || echo "no file $name" ;;
		structure-*) ;;
		*) grep -rqwF --include='*.c' -- "$name" tests || named_by_macro "$name" ||
			echo "no test $name" ;;
		esac
	done < <(grep -oE '`[a-z0-9_./-]{9,}`' docs/coverage.md | tr -d '`' | sort -u)
}

# Names made from a stem and a suffix by a macro (..._posix_uring).
named_by_macro() {
	local stem=$1
	while [ "${stem%_*}" != "$stem" ]; do
		stem=${stem%_*}
		[ ${#stem} -gt 20 ] && grep -rqwF --include='*.c' -- "$stem" tests && return 0
	done
	return 1
}

check "every test that docs/coverage.md names exists" missing
finish
