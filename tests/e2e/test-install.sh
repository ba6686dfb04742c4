#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What "meson install" leaves is enough for whoever builds with it: every example compiles outside of the
# tree, by the line that README.md gives, as strict C too; so does a program in C++; linked to the shared
# library and to the static one.
# shellcheck disable=SC2317,SC2046  # functions are called by check; pkg-config prints words
set -euo pipefail

if [ "${1:-}" = --help ]; then
	echo "Usage: test-install.sh"
	echo "Prints TAP: whether what \$TARN_BUILD_DIR installs can be built with and runs."
	exit
fi
# shellcheck source=tests/structure/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../structure/lib.sh"

build=${TARN_BUILD_DIR:?}
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
export XDG_RUNTIME_DIR=$scratch
unset TARN_SERVER TARN_TARND TARN_AUTHKEY_FILE LD_LIBRARY_PATH CFLAGS LDFLAGS

installed() {
	meson install -C "$build" --no-rebuild --destdir "$scratch/root" >"$scratch/log" 2>&1 || cat "$scratch/log"
}
check "meson install" installed

found=$(find "$scratch/root" -name tarn.pc -print -quit)
if [ -z "$found" ]; then
	echo "Bail out! no tarn.pc is installed"
	exit 1
fi
# As if the root were there: everything but the libraries that we depend on is below it.
PKG_CONFIG_PATH=$(dirname "$found")
PKG_CONFIG_SYSROOT_DIR=$scratch/root
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
libraries=$(dirname "$PKG_CONFIG_PATH")
programs=$(dirname "$(find "$scratch/root" -name tarnd -type f -print -quit)")
export LD_LIBRARY_PATH=$libraries

cd "$scratch"
cp -r "$top/examples" .
flags() { pkg-config --cflags --libs tarn; }
compile() { # compile COMPILER STANDARD OUTPUT SOURCE...: without a word
	"$1" -std="$2" -Wall -Wextra -Iexamples "${@:4}" -o "$3" $(flags)
}
# The static library is what is between -Bstatic and -Bdynamic; its dependencies are the system's.
compile_static() {
	"$1" -std="$2" -Wall -Wextra -Iexamples "${@:4}" -o "$3" -Wl,-Bstatic $(flags) -Wl,-Bdynamic -pthread \
		$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --libs liburing libxxhash)
}
sources() { # sources EXAMPLE: its files
	echo "examples/$1.c"
	if [ "$1" != module ] && [ -d "examples/$1" ]; then
		ls examples/"$1"/*.c
	fi
}

for file in examples/*.c; do
	name=$(basename "$file" .c)
	check "example $name, as strict C" compile cc c11 "$name" $(sources "$name")
done
check "example wordcount, as README.md says" compile cc gnu17 wordcount $(sources wordcount)
check "example module/counter" cc -shared -fPIC -Wall -Wextra examples/module/counter.c -o counter.so $(flags)
check "example hello, static" compile_static cc c11 hello-static examples/hello.c

says() { # says TEXT COMMAND...: it succeeds, and its last line is that
	local said
	said=$("${@:2}" 2>&1) || echo "${*:2} ended with $?: $said"
	[ "$(tail -n 1 <<<"$said")" = "$1" ] || echo "$said"
}
check "hello runs" says "The child reads: Hello from the parent." ./hello
check "hello, static, runs without the library" says "The child reads: Hello from the parent." \
	env -u LD_LIBRARY_PATH ./hello-static
check "module runs" says "Counter at 42" ./module ./counter.so

if command -v g++ >/dev/null; then
	check "a program in C++11" compile g++ c++11 consumer "$top/tests/e2e/consumer.cpp"
	check "which runs" says "all of it, from C++" ./consumer
	check "a program in C++20, static" compile_static g++ c++20 consumer-static "$top/tests/e2e/consumer.cpp"
	check "which runs, too" says "all of it, from C++" ./consumer-static
else
	skip "a program in C++" "no g++"
fi

versions() {
	local all
	all=$(
		"$programs/tarn" --version | sed 's/^tarn //'
		"$programs/tarnd" --version | sed 's/^tarnd //'
		pkg-config --modversion tarn
	)
	[ "$(sort -u <<<"$all" | wc -l)" = 1 ] || echo "$all"
}
check "one version" versions

# ---- whatever else people look for ----

there() { # there PATTERN...: paths below the root
	local pattern
	for pattern in "$@"; do
		[ -n "$(find "$scratch/root" -path "*/$pattern" -print -quit)" ] || echo "no $pattern"
	done
}
check "libraries" there libtarn.so libtarn.so.0 libtarn.a
check "headers" there $(cd "$top/lib" && ls include/tarn/*.h)
check "units of systemd" there systemd/user/tarnd.service systemd/user/tarnd.socket
check "completions" there completions/tarn.bash completions/tarnd.bash vendor_completions.d/tarn.fish site-functions/_tarn
pages=("$top"/docs/man/*.scd)
if command -v scdoc >/dev/null; then
	check "man pages" there $(basename -a "${pages[@]%.scd}" | sed -E 's:(.*\.)([0-9])$:man\2/\1\2:')
else
	skip "man pages" "no scdoc"
fi
no_private() { # nothing that only the build needs
	find "$scratch/root" \( -name '*.c' -o -path '*/shm/*' -o -name 'test-*' \) -print
}
check "nothing private" no_private
finish
