# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the tests in this folder share: TAP, and the list of files of the tree. Sourced.
# A check prints one line per finding, and none is a pass.

top=${TARN_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
cd "$top" || exit

n_checks=0
n_bad=0

check() { # check WHAT COMMAND...: passes if the command prints nothing and succeeds
	local what=$1 findings status=0
	shift
	findings=$("$@" 2>&1) || status=$?
	n_checks=$((n_checks + 1))
	if [ -z "$findings" ] && [ $status -eq 0 ]; then
		echo "ok $n_checks - $what"
		return
	fi
	n_bad=$((n_bad + 1))
	[ -n "$findings" ] || findings="exit status $status of $*"
	echo "not ok $n_checks - $what"
	while IFS= read -r line; do
		echo "# $line"
	done < <(head -n 60 <<<"$findings") >&2 # where meson shows it
}

skip() { # skip WHAT WHY
	n_checks=$((n_checks + 1))
	echo "ok $n_checks - $1 # SKIP $2"
}

finish() {
	echo "1..$n_checks"
	[ $n_bad -eq 0 ]
}

files() { # files NAME-PATTERN...: our own files, without build trees
	local pattern=() name
	for name in "$@"; do
		pattern+=(-o -name "$name")
	done
	find . -path ./.git -prune -o -path './build*' -prune -o \
		-type f \( "${pattern[@]:1}" \) -print | sed 's:^\./::' | sort
}
