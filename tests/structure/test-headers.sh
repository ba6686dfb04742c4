#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every public header compiles by itself, as strict C and as C++, with every compiler that
# is here. Users have other flags than we: no _GNU_SOURCE, all warnings.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ "${1:-}" = --help ]; then
	echo "Usage: test-headers.sh"
	echo "Prints TAP: whether each public header compiles alone, as C and as C++."
	exit
fi
# shellcheck source=tests/structure/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

compiles() { # compiles COMPILER LANGUAGE STANDARD HEADER
	"$1" -x "$2" -std="$3" -Ilib/include -Wall -Wextra -Wundef -Werror -fsyntax-only - \
		<<<"#include <tarn/$4>
#include <tarn/$4>"
}

for cc in gcc:c:c11 clang:c:c11 g++:c++:c++11 clang++:c++:c++11 g++:c++:c++20; do
	IFS=: read -r compiler language standard <<<"$cc"
	for header in lib/include/tarn/*.h; do
		name=$(basename "$header")
		what="<tarn/$name> alone, $compiler -std=$standard"
		if command -v "$compiler" >/dev/null; then
			check "$what" compiles "$compiler" "$language" "$standard" "$name"
		else
			skip "$what" "no $compiler"
		fi
	done
done
finish
