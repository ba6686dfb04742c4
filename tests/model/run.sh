#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Verifies one variant of one model and prints one line about it. The exit status is the
# verdict: 0 the search was complete and found no error, 1 it found an error, 2 it could
# not say (out of memory or time, the depth was too small, or a tool failed).
set -euo pipefail

usage() {
	cat <<'END'
Usage: run.sh MODEL.pml NAME [-DMACRO[=VALUE]...]

Verifies MODEL.pml with the given macros, in a directory NAME of its own that is removed
afterwards (kept when the verdict is "unknown").

Environment:
  TMPDIR      where that directory goes (default /tmp)
  MODEL_MEM   MiB the search may use (default 4000)
  MODEL_TIME  seconds it may take (default 900)
  MODEL_DEPTH longest path that is followed (default 200000)

Exit status: 0 no error in a complete search, 1 an error was found, 2 unknown.
END
}

case ${1:-} in
-h | --help)
	usage
	exit 0
	;;
esac
if [ $# -lt 2 ]; then
	usage >&2
	exit 2
fi

model=$(realpath -- "$1")
name=$2
shift 2

dir=${TMPDIR:-/tmp}/tarn-model-$name.$$
mkdir -p "$dir"
cd "$dir"

unknown() {
	echo "$name: unknown, $1 (see $dir)"
	exit 2
}

cp -- "$model" m.pml
spin -a "$@" m.pml >spin.log 2>&1 || unknown "spin failed"
# SAFETY: assertions only. COLLAPSE: trades time for memory, about 5 to 1 here.
gcc -w -O2 -DSAFETY -DCOLLAPSE -DVECTORSZ=4096 "-DMEMLIM=${MODEL_MEM:-4000}" \
	-o pan pan.c >gcc.log 2>&1 || unknown "gcc failed"

# In the background and in our process group: whoever ends us must not leave it running.
timeout --foreground "${MODEL_TIME:-900}" \
	./pan "-m${MODEL_DEPTH:-200000}" -w24 >pan.log 2>&1 &
search=$!
trap 'kill $search; exit 2' INT TERM HUP
status=0
wait $search || status=$?
[ $status -ne 124 ] || unknown "it took more than ${MODEL_TIME:-900} s"

field() { # the first number that the given pattern captures in the log
	sed -nE "s/$1/\\1/p" pan.log | head -n1
}
errors=$(field '^State-vector .* errors: ([0-9]+).*')
states=$(field '^ *([0-9.e+]+) states, stored.*')
seconds=$(field '^pan: elapsed time ([0-9.]+) seconds.*')
mib=$(field '^ *([0-9.]+)[[:space:]]+total actual memory usage.*')
what="${states:-?} states, ${seconds:-?} s, ${mib:-?} MiB"

[ -n "$errors" ] || unknown "pan gave no verdict"
# An error that was found is an error, however little of the rest was searched.
if [ "$errors" -eq 0 ] &&
	grep -qE 'Search not completed|out of memory|max search depth too small' pan.log; then
	unknown "incomplete search, $what"
fi

cd /
rm -rf -- "$dir"
if [ "$errors" -gt 0 ]; then
	echo "$name: error found, $what"
	exit 1
fi
echo "$name: no error, $what"
