#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The probes that docs/observability.md lists are in the library, and the reverse, with as many
# arguments.
set -euo pipefail

if [ $# -ne 1 ] || [ "$1" = --help ]; then
	echo "Usage: test-usdt.sh LIBTARN"
	echo "Exit status 0 if the library's probes are those of the page, 1 if not, 77 without probes."
	[ $# -eq 1 ]
	exit
fi
top=${TARN_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}

in_library() { # NAME ARGUMENTS, one a line
	readelf -nW "$1" | awk '
		/Provider: / { ours = $NF == "tarn" }
		/Name: / { name = $2 }
		/Arguments: / && ours { print name, NF - 1 }' | sort -u
}
in_page() {
	sed -n '/^## Probes/,$s/^| `\([a-z_]*\)` | \([^|]*\) |.*/\1|\2/p' "$top/docs/observability.md" |
		awk -F'|' '{ print $1, split($2, arguments, ",") }' | sort -u
}
if [ -z "$(in_library "$1")" ]; then
	echo "this build has no probes (option usdt)"
	exit 77
fi
diff <(in_page) <(in_library "$1")
