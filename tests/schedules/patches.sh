#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Negative controls of the schedules (T6): each trap is put back into a copy of the sources, and
# test-schedules, or the program that the patch names, must find it. A search that finds nothing
# proves nothing. The lines before a patch:
#
#	What: one sentence
#	Program: test-sync-schedules	(or test-queue-schedules; else test-schedules)
#	Found by: names or patterns of the scenarios that are played
#	Only with: pso			with memories that are stronger nothing may be found (also: tso); views: with
#					none of the others
#	Runs: 10			times as many as of the others: it is seldom seen
set -euo pipefail

usage() {
	cat <<'END'
Usage: patches.sh [--runs N] [NAME...]

Applies each tests/schedules/patches/NAME.patch (default: all) to a copy of the sources in the
build tree, builds the program that it names there, and expects one of the scenarios that it names
to fail. Prints TAP.

  --runs N  TARN_SCHED_RUNS of the search (default 6000; where nothing may be found a twentieth)
END
}

runs=6000
names=()
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit
		;;
	--runs)
		runs=${2:?--runs needs a number}
		shift
		;;
	-*)
		echo "patches.sh: unknown option '$1'" >&2
		exit 2
		;;
	*) names+=("$1") ;;
	esac
	shift
done

top=${TARN_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
built=${TARN_BUILD_DIR:-$top/build}
copy=$built/patched
here=$top/tests/schedules/patches
if [ ${#names[@]} -eq 0 ]; then
	mapfile -t names < <(cd "$here" && printf '%s\n' *.patch | sed 's/\.patch$//')
fi

mkdir -p "$copy/sources"
cd "$copy"
# Everything as it was, with its times, so that only what a patch changes is compiled.
restore() {
	rm -rf sources
	cp -a pristine sources
}
[ ! -d pristine ] || restore
(cd "$top" && tar cf - --exclude='./build*' --exclude="./${built#"$top"/}" --exclude=./.git .) | tar xf - -C sources
# In the sources, as in a clone: a compiler cache knows most of it already.
build=sources/build
if ! { { [ -e $build/build.ninja ] || meson setup $build sources -Dbench=false -Dexamples=false; } &&
	ninja -j2 -C $build tests/schedules/test-schedules tests/schedules/test-sync-schedules \
		tests/schedules/test-queue-schedules; } >log 2>&1; then
	tail -n 30 log >&2
	echo "1..1"
	echo "not ok 1 - the copy is built"
	exit 1
fi
rm -rf pristine
cp -a sources pristine

echo "1..${#names[@]}"
n=0
bad=0
for name in "${names[@]}"; do
	n=$((n + 1))
	file=$here/$name.patch
	what=$(sed -n 's/^What: //p' "$file")
	mapfile -d ' ' -t scenarios < <(sed -n 's/^Found by: //p' "$file" | tr -d '\n')
	program=$(sed -n 's/^Program: //p' "$file")
	program=tests/schedules/${program:-test-schedules}
	only=$(sed -n 's/^Only with: //p' "$file")
	times=$(sed -n 's/^Runs: //p' "$file")
	most=$((runs * ${times:-1}))
	case $only in
	views) stronger=at-once,tso,pso ;;
	pso) stronger=at-once,tso ;;
	tso) stronger=at-once ;;
	*) stronger= ;;
	esac
	verdict=
	if ! patch -d sources -p1 --no-backup-if-mismatch <"$file" >log 2>&1; then
		verdict="the patch does not apply any more"
	elif ! ninja -j2 -C $build "$program" >log 2>&1; then
		verdict="what is patched does not compile"
	elif [ -n "$stronger" ] && ! TARN_SCHED_MEMORY=$stronger TARN_SCHED_RUNS=$((runs / 20)) \
		"$build/$program" "${scenarios[@]}" >log 2>&1; then
		verdict="it is found in a stronger memory, too"
	elif TARN_SCHED_MEMORY=$only TARN_SCHED_RUNS=$most "$build/$program" "${scenarios[@]}" >log 2>&1; then
		verdict="nothing was found"
	elif ! grep -q '^not ok' log; then
		verdict="the test could not run"
	fi
	restore
	if [ -z "$verdict" ]; then
		echo "ok $n - found by ${program##*/}${only:+ with $only}: $what"
		grep -m 2 '^# ' log || true
	else
		bad=$((bad + 1))
		tail -n 20 log >&2
		echo "not ok $n - $name: $verdict"
	fi
done
[ $bad -eq 0 ]
