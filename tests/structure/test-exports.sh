#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Three lists of exported names must be one: the map file, TARN_EXPORT in the public
# headers, and what the built library really exports. C and C++ programs must be able to
# link every one of them.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ $# -ne 1 ] || [ "$1" = --help ]; then
	echo "Usage: test-exports.sh LIBTARN.SO"
	echo "Prints TAP: whether the library exports what the headers and the map say."
	[ $# -eq 1 ]
	exit
fi
library=$(realpath -- "$1")
# shellcheck source=tests/structure/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

# Comments out; then after each TARN_EXPORT the first tarn_ name before a parenthesis.
cat lib/include/tarn/*.h | sed -e 's:/\*.*\*/::g' -e '/\/\*/,/\*\//d' |
	grep -v '^#' | tr '\n' ' ' | grep -oP 'TARN_EXPORT\b[^;]*' |
	grep -oP '^[^(]*?\btarn_\w+(?=\s*\()|^[^(]*\btarn_\w+(?=\s*(\[.*)?$)' |
	grep -oP 'tarn_\w+$' | sort >"$scratch/headers"
sed -nE '/^global:/,/^local:/s/^[[:space:]]*([a-z0-9_]+);.*/\1/p' lib/libtarn.map |
	sort >"$scratch/map"
# Type A is the version's own name.
nm -D --defined-only -- "$library" | awk '$(NF - 1) != "A" { sub(/@.*/, "", $NF); print $NF }' |
	sort >"$scratch/library"

only_in() { # only_in A B: one line per name that A has and B lacks
	comm -23 "$scratch/$1" "$scratch/$2"
}
no_names() {
	[ -s "$scratch/headers" ] || echo "no TARN_EXPORT was found in the headers"
}
links() { # links COMPILER LANGUAGE
	{
		echo '#include <tarn/tarn.h>'
		echo 'typedef void (*any)(void);'
		echo 'any volatile all[] = {'
		sed 's/.*/(any)&,/' "$scratch/headers"
		echo '}; int main(void) { return all[0] == 0; }'
	} >"$scratch/all.$2"
	"$1" -Ilib/include -o "$scratch/all" "$scratch/all.$2" "$library" \
		"-Wl,-rpath,$(dirname "$library")"
	"$scratch/all"
}

check "public headers export something" no_names
check "names in the map and not in a header" only_in map headers
check "names in a header and not in the map" only_in headers map
check "names in a header and not in the library" only_in headers library
check "names in the library and not in a header" only_in library headers
for cc in gcc:c g++:cc clang:c clang++:cc; do
	IFS=: read -r compiler suffix <<<"$cc"
	if command -v "$compiler" >/dev/null; then
		check "a program of $compiler links all names" links "$compiler" "$suffix"
	else
		skip "a program of $compiler links all names" "no $compiler"
	fi
done
finish
