#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Who may include whom, and what every source file must have. The layers are in
# CONTRIBUTING.md.
# shellcheck disable=SC2317,SC2016  # functions are called by check; $1 in quotes is awk's
set -euo pipefail

if [ "${1:-}" = --help ]; then
	echo "Usage: test-tree.sh"
	echo "Prints TAP: whether the tree keeps the rules of CONTRIBUTING.md."
	exit
fi
# shellcheck source=tests/structure/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What counts as libc. A header that is missing here is a decision to take: add it if it
# is libc's, the compiler's or the kernel's, else it is a dependency.
libc='assert|byteswap|ctype|dirent|dlfcn|elf|endian|err|errno|execinfo|fcntl|fenv|float|fnmatch|ftw|getopt|glob|grp|inttypes|iso646|libgen|limits|link|locale|malloc|math|mntent|netdb|poll|pthread|pwd|regex|sched|search|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdio_ext|stdlib|stdnoreturn|string|strings|syscall|sysexits|syslog|termios|threads|time|tgmath|ucontext|uchar|unistd|utime|wait|wchar|wctype|emmintrin|immintrin|nmmintrin|x86intrin|arm_acle|arm_neon|cpuid'
system="^(sys|linux|asm|asm-generic|arpa|netinet|net)/|^($libc)\\.h\$"

# One line per #include: FILE, '<' or '"', the name, and for '"' the path it leads to.
edges() {
	local file line kind name dir to
	while IFS= read -r file; do
		dir=${file%/*}
		while IFS= read -r line; do
			kind=${line:0:1}
			name=${line:1}
			to=-
			if [ "$kind" = '"' ]; then
				for to in "$dir/$name" "$name" "lib/include/$name" "${file%%/*}/$name" \
					missing; do
					[ ! -e "$to" ] || break
				done
				# Only what goes up needs another program.
				case $to in
				*../* | */./*) to=$(realpath --relative-to=. -- "$to") ;;
				esac
			fi
			printf '%s\t%s\t%s\t%s\n' "$file" "$kind" "$name" "$to"
		done < <(sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*([<"][^>"]+)[>"].*/\1/p' \
			"$file")
	done < <(files '*.c' '*.h')
}
graph=$(edges)

# forbid FROM KIND PATTERN WHY: direct includes in files FROM (a regular expression) whose
# name (KIND <) or path (KIND ") matches PATTERN.
forbid() {
	awk -F'\t' -v from="^$1" -v kind="$2" -v pattern="$3" -v why="$4" '
		$1 ~ from && $2 == kind && (kind == "<" ? $3 : $4) ~ pattern {
			print $1 " includes " $3 ": " why
		}' <<<"$graph"
}

# The same for what may be included: all else is a finding.
allow() {
	awk -F'\t' -v from="^$1" -v kind="$2" -v pattern="$3" -v why="$4" '
		$1 ~ from && $2 == kind && (kind == "<" ? $3 : $4) !~ pattern {
			print $1 " includes " $3 ": " why
		}' <<<"$graph"
}

# forbid_reach FROM TO WHY: also by way of other headers; prints the way.
forbid_reach() {
	awk -F'\t' -v from="^$1" -v to="^$2" -v why="$3" '
		$2 == "\"" { n[$1]++; edge[$1, n[$1]] = $4; if ($1 ~ from) start[$1] = 1 }
		function walk(file, way,    i, next_) {
			for (i = 1; i <= n[file]; i++) {
				next_ = edge[file, i]
				if (next_ in seen) continue
				seen[next_] = 1
				if (next_ ~ to) print way " -> " next_ ": " why
				else walk(next_, way " -> " next_)
			}
		}
		END { for (s in start) { delete seen; walk(s, s) } }' <<<"$graph"
}

includes_are_found() {
	forbid '' '"' '^missing$' 'no such file'
}
shm_includes_only_shm_and_libc() {
	allow shm/ '"' '^(shm/|missing$)' 'shm/ is the lowest layer'
	allow shm/ '<' "$system|^xxhash\\.h\$" 'not libc; see the list in this test'
}
lib_includes_only_lib_shm_libc_and_its_dependencies() {
	allow lib/ '"' '^(lib/|shm/|missing$)' 'arrows go down: tools -> lib -> shm'
	allow 'lib/.*[^/]' '<' "$system|^(liburing|tarn/[a-z_-]+)\\.h\$" 'a new dependency?'
}
client_never_reaches_server() {
	forbid_reach lib/client/ lib/server/ 'both ends meet in shm/ only'
}
server_never_reaches_client() {
	forbid_reach lib/server/ lib/client/ 'both ends meet in shm/ only'
}
value_reaches_neither_client_nor_server() {
	forbid_reach lib/value/ 'lib/(client|server|host)/' 'values are bytes and text; handles come by hooks'
}
tables_of_types_reach_neither_client_nor_server() {
	forbid_reach 'lib/types/([a-z-]*-type|types)\\.c' 'lib/(client|server|host|process)/' 'tables of types use public headers, shm/ and lib/types/'
}
client_side_of_types_reaches_no_server() {
	forbid_reach 'lib/(types|process)/' 'lib/(server|host)/' 'both ends meet in shm/ and lib/types/ headers only'
}
server_reaches_no_processes() {
	forbid_reach 'lib/(server|host|client|types)/' 'lib/process/' 'worker processes use what lies below, not the reverse'
}
client_opens_no_io_uring() {
	forbid lib/client/ '<' '^liburing\.h$' 'clients have no ring, see docs/design.md'
}
public_headers_include_only_public_headers_and_libc() {
	allow lib/include/ '"' '^(lib/include/tarn/|missing$)' 'users do not have that file'
	allow lib/include/ '<' "$system|^tarn/[a-z_-]+\\.h\$" 'users may not have that header'
}
examples_include_only_public_headers_and_libc() {
	allow examples/ '"' '^(examples/|missing$)' 'write <tarn/...>, as users do'
	allow examples/ '<' "$system|^tarn/[a-z_-]+\\.h\$" 'examples need nothing else'
}
tools_include_nothing_from_tests() {
	forbid_reach tools/ '(tests|bench|examples)/' 'programs do not depend on tests'
}

no_unfinished_marks() {
	# Written so that this line does not find itself.
	files '*' | xargs -d '\n' grep -nwIE 'TO''DO|FIX''ME|XX''X|HA''CK' || true
}
every_source_states_its_licence() {
	files '*.c' '*.h' '*.sh' 'meson.build' | xargs -d '\n' awk '
		function tell() { if (file && !ok) print file ": no SPDX-License-Identifier: Apache-2.0 in its first lines" }
		FNR == 1 { tell(); file = FILENAME; ok = 0 }
		FNR <= 3 && /SPDX-License-Identifier: Apache-2\.0( |$)/ { ok = 1 }
		END { tell() }'
}
every_source_is_built() {
	local layer file
	for layer in shm lib; do
		while IFS= read -r file; do
			case $file in
			"$layer"/*) grep -qF "'${file#"$layer"/}'" $layer/meson.build ||
				echo "$file is not listed in $layer/meson.build" ;;
			esac
		done < <(files '*.c')
	done
	while IFS= read -r file; do
		case $file in
		lib/include/*) grep -qF "'${file#lib/}'" lib/meson.build ||
			echo "$file is not listed in lib/meson.build: it would not be installed" ;;
		esac
	done < <(files '*.h')
}
headers_have_guards() {
	files '*.h' | xargs -d '\n' awk '
		function tell() { if (file && !ok) print file ": no include guard" }
		FNR == 1 { tell(); file = FILENAME; ok = 0; name = "" }
		/^#ifndef / && name == "" { name = $2; next }
		name != "" && $1 == "#define" && $2 == name { ok = 1 }
		END { tell() }'
}
tests_mirror_what_they_test() {
	local file
	while IFS= read -r file; do
		case $file in
		tests/shm/*.c | tests/lib/*.c)
			grep -rqF "'${file#tests/}'" tests/meson.build ||
				echo "$file is not listed in tests/meson.build" ;;
		esac
	done < <(files '*.c')
}
the_shim_knows_every_access() {
	# Functions of shm/base.h that touch memory; tests/shim/shim.h takes their place.
	local name
	for name in $(grep -oE 'tarn__(load|store)[a-z0-9_]*\(' shm/base.h | tr -d '(' | sort -u); do
		grep -qF "#define $name " tests/shim/shim.h || echo "tests/shim/shim.h lacks $name"
	done
}
scripts() {
	files '*' | LC_ALL=C xargs -d '\n' awk 'FNR == 1 && /^#!.*bash/ { print FILENAME } FNR > 1 { nextfile }'
}
scripts_have_help() {
	local file
	for file in $(scripts); do
		grep -q -e --help "$file" || echo "$file: no --help"
		[ -x "$file" ] || echo "$file: not executable"
	done
}
scripts_pass_shellcheck() {
	local list
	mapfile -t list < <(scripts)
	shellcheck -x "${list[@]}"
}

for rule in includes_are_found \
	shm_includes_only_shm_and_libc \
	lib_includes_only_lib_shm_libc_and_its_dependencies \
	client_never_reaches_server \
	server_never_reaches_client \
	value_reaches_neither_client_nor_server \
	tables_of_types_reach_neither_client_nor_server \
	client_side_of_types_reaches_no_server \
	server_reaches_no_processes \
	client_opens_no_io_uring \
	public_headers_include_only_public_headers_and_libc \
	examples_include_only_public_headers_and_libc \
	tools_include_nothing_from_tests \
	no_unfinished_marks \
	every_source_states_its_licence \
	every_source_is_built \
	headers_have_guards \
	tests_mirror_what_they_test \
	the_shim_knows_every_access \
	scripts_have_help; do
	check "${rule//_/ }" "$rule"
done
if command -v shellcheck >/dev/null; then
	check "scripts pass shellcheck" scripts_pass_shellcheck
else
	skip "scripts pass shellcheck" "shellcheck is not installed"
fi
finish
