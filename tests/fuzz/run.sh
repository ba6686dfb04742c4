#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the fuzzers (T10) and runs them: a fixed number of inputs, or for as long as asked.
set -euo pipefail

usage() {
	cat <<'END'
Usage: run.sh [--seconds N | --runs N | --epochs N] [--seed N] [FUZZER...]

Builds tests/fuzz/fuzz-*.c with clang's libFuzzer, address and undefined-behaviour sanitizers,
and runs each on its corpus in tests/fuzz/corpus/. Prints TAP.

  --runs N     so many inputs of each (default 4000); the seed is fixed: the same every time
  --seconds N  instead: random inputs for so long, each; new ones stay in the build tree
  --epochs N   the long mode: lanes alone, until the server had N epochs in which it met something
               hostile (10^7: about a quarter of an hour of a quiet CPU); each input goes on for 1000
               steps, with random bytes of which it is the seed
  --seed N     of the random inputs (default 1; with --seconds and --epochs: the time)

An input that finds something is left as crash-* in the build tree; give it to the fuzzer as an
argument to see it again. Of lanes it may need what the same server was given before, which is in
history-lanes there: FUZZ_REPLAY=history-lanes FUZZ_STEPS=200 fuzz-lanes (after --epochs 1000).
END
}

runs=4000
seconds=
epochs=
seed=
fuzzers=()
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit
		;;
	--runs | --seconds | --epochs | --seed)
		[[ ${2:-} =~ ^[0-9]+$ ]] || {
			echo "run.sh: $1 needs a number" >&2
			exit 2
		}
		declare "${1#--}=$2"
		shift
		;;
	-*)
		echo "run.sh: unknown option '$1'" >&2
		exit 2
		;;
	*) fuzzers+=("$1") ;;
	esac
	shift
done
if [ -n "$epochs" ]; then
	fuzzers=(lanes)
	export FUZZ_EPOCHS=$epochs FUZZ_STEPS=1000
fi
export FUZZ_STEPS=${FUZZ_STEPS:-200}
[ ${#fuzzers[@]} -gt 0 ] || fuzzers=(lanes control token value)
: "${seed:=$([ -n "$seconds$epochs" ] && date +%s || echo 1)}"

top=${TARN_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
build=${TARN_BUILD_DIR:-$top/build}/fuzz
cd "$top"

if ! command -v clang >/dev/null ||
	! echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return 0 * (d != 0) * (int)n; }' |
	clang -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null; then
	echo "1..0 # SKIP no clang with libFuzzer (Debian: clang, libclang-rt-dev)"
	exit
fi

targets=()
for name in "${fuzzers[@]}"; do
	targets+=("tests/fuzz/fuzz-$name")
done
mkdir -p "$build"
if ! {
	{ [ -e "$build/build.ninja" ] || env -u CFLAGS -u LDFLAGS CC=clang meson setup "$build" -Dfuzz=true \
		-Dtests=false -Dbench=false -Dexamples=false -Ddefault_library=static \
		-Doptimization=2 -Db_lundef=false; } &&
		ninja -j2 -C "$build" "${targets[@]}"
} >"$build.log" 2>&1; then
	tail -n 30 "$build.log" >&2
	echo "1..1"
	echo "not ok 1 - the fuzzers are built"
	exit 1
fi

echo "1..${#fuzzers[@]}"
n=0 bad=0
for name in "${fuzzers[@]}"; do
	n=$((n + 1))
	found=$build/corpus-$name
	rm -rf -- "$found"
	mkdir -p "$found"
	# Each process of the sanitizer's leak check stops the world by ptrace, which some
	# containers refuse; what leaks here is descriptors and blocks, and those are counted.
	limit=-runs=$runs
	[ -z "$seconds" ] || limit=-max_total_time=$seconds
	[ -z "$epochs" ] || limit=-runs=-1
	# Without -entropic=0 most of the time of short inputs goes into choosing the next.
	if (cd "$build" && ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		FUZZ_HISTORY=history-$name \
		"tests/fuzz/fuzz-$name" "$limit" -seed="$seed" -len_control=0 -max_len=1000 \
		-detect_leaks=0 -entropic=0 -print_final_stats=1 "$found" \
		"$top/tests/fuzz/corpus/$name") >"$build/log-$name" 2>&1; then
		what=$(sed -nE 's/^stat::number_of_executed_units: *//p' "$build/log-$name")
		[ -z "$epochs" ] || what=$(sed -nE 's/^lanes: end after [0-9]+ s: ([0-9]+) inputs.*/\1/p' "$build/log-$name")
		echo "ok $n - t10 $name: $what inputs, seed $seed, no findings"
		sed -nE 's/^lanes: (end.*)/# \1/p' "$build/log-$name"
	else
		bad=$((bad + 1))
		grep -vE '^#[0-9]+' "$build/log-$name" | tail -n 60 >&2
		echo "not ok $n - t10 $name, seed $seed: see $build/log-$name"
	fi
done
[ $bad -eq 0 ]
