#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# docs/coverage.md names tests: each name must be a test's, or a file's. Each id of the mission table has
# a row, and no row is there twice.
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

# The ids that rows have: "D5", "T1, T2", "E1 to E9".
ids() {
	awk -F'|' '/^\| / {
		n = split($2, part, ",")
		for (i = 1; i <= n; i++) {
			gsub(/ /, "", part[i])
			if (match(part[i], /^[A-Z][0-9]+to[A-Z][0-9]+$/)) {
				split(part[i], end, "to")
				for (k = substr(end[1], 2) + 0; k <= substr(end[2], 2) + 0; k++)
					print substr(end[1], 1, 1) k
			} else if (part[i] ~ /^[A-Z][0-9]+$/)
				print part[i]
		}
	}' docs/coverage.md | sort -u
}
table() { # what the mission table has
	local letter last
	for letter in A:9 L:22 R:17 O:14 D:24 P:9 F:14 V:12 N:7 T:16 M:20 S:19 W:6 E:10 Q:11 U:11; do
		last=${letter#*:}
		seq -f "${letter%:*}%.0f" "$last"
	done | sort -u
}
without_a_row() {
	comm -23 <(table) <(ids) | sed 's/$/ has no row/'
}
twice() { # within a section; the same behaviour may be shown from two sides
	awk -F'|' '/^## / { delete seen } /^\| / && $2 !~ /^ (---|id|behaviour|trap|demand) / && seen[$2, $3]++ { print "twice:" $2 "|" $3 }' \
		docs/coverage.md
}

check "every test that docs/coverage.md names exists" missing
check "every id of the mission table has a row" without_a_row
check "no row is there twice" twice
finish
