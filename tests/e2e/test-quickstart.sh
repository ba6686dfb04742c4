#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The first command of a newcomer, and the example it runs: right counts, whoever dies,
# nothing left behind. What counts as right is what tr, sort and uniq find.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ $# -ne 1 ] || [ "$1" = --help ]; then
	echo "Usage: test-quickstart.sh EXAMPLE-WORDCOUNT"
	echo "Prints TAP: whether tools/quickstart and the example do what they say."
	[ $# -eq 1 ]
	exit
fi
wordcount=$(realpath -- "$1")
top=${TARN_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
scratch=$(mktemp -d)
export XDG_RUNTIME_DIR=$scratch/run
mkdir "$XDG_RUNTIME_DIR"
unset TARN_TARND
pid= # of a run that may still live
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true; rm -rf -- "$scratch"' EXIT
out=$scratch/out

n=0
bad=0
check() { # check WHAT COMMAND...: TAP for whether the command succeeds
	local what=$1 verdict=ok status=0
	shift
	# In a subshell, and not in an "if": that would turn -e off inside.
	set +e
	(
		set -e
		"$@"
	) >"$scratch/said" 2>&1
	status=$?
	set -e
	n=$((n + 1))
	if [ $status -ne 0 ]; then
		verdict="not ok"
		bad=1
		sed 's/^/# /' "$scratch/said" "$out" >&2
	fi
	echo "$verdict $n - $what"
}
skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# ---- texts ----

make_texts() {
	local i
	mkdir -p "$scratch/texts/deep/er"
	cp /usr/share/common-licenses/* "$scratch/texts/"
	for i in 1 2 3 4 5 6; do # several MiB: slices; words cut nowhere
		cat /usr/share/common-licenses/*
	done >"$scratch/texts/deep/large"
	# One line, no end of it, words in UTF-8, a very long word.
	printf 'Grüße ÄÖ naïve x%sX e' "$(head -c 70000 /dev/zero | tr '\0' y)" \
		>"$scratch/texts/deep/er/odd"
	: >"$scratch/texts/deep/er/empty"
	printf ' \n\n' >"$scratch/texts/deep/er/blank"
	chmod -R u+w "$scratch/texts"
}
make_texts
n_texts=$(find "$scratch/texts" -type f | wc -l)

expected() { # "count  word" by falling count, then alphabet; lower case is ASCII's
	find "$1" -type f -exec sh -c 'for f; do cat "$f"; echo; done' sh {} + |
		LC_ALL=C tr '[:upper:]' '[:lower:]' | LC_ALL=C tr -cs '[:lower:]\200-\377' '\n' |
		sed '/^$/d' | LC_ALL=C sort | uniq -c | LC_ALL=C sort -k1,1nr -k2,2
}
expected "$scratch/texts" >"$scratch/expected"

run() { # run STATUS ARGUMENT...: runs it and expects that exit status
	local want=$1 status=0
	shift
	: >"$out"
	"$wordcount" "$@" >"$out" 2>"$scratch/err" || status=$?
	cat "$scratch/err"
	[ "$status" -eq "$want" ]
}
has() { # has TEXT...: each is in the output
	local text
	for text in "$@"; do
		grep -qF -- "$text" "$out" || { echo "missing: $text" && return 1; }
	done
}
right() { # the promises that hold in every run
	has "0 differences" "0 findings, 0 blocks left"
	grep -q '^bytes copied  *0 between' "$out"
}
nothing_left() {
	[ -z "$(ls "$XDG_RUNTIME_DIR/tarn" 2>/dev/null)" ]
}

top_words_are_those_of_coreutils() {
	run 0 --top 1000 "$scratch/texts"
	right
	awk '/^most frequent/ { on = 1; sub(/^most frequent/, "") } /^bytes copied/ { on = 0 }
	     on { gsub(",", "", $1); print $1, $2 }' "$out" >"$scratch/found"
	head -n 1000 "$scratch/expected" | awk '{ print $1, $2 }' | diff - "$scratch/found"
}
totals_are_those_of_coreutils() {
	local words different
	run 0 "$scratch/texts"
	words=$(awk '{ sum += $1 } END { print sum }' "$scratch/expected")
	different=$(wc -l <"$scratch/expected")
	[ "$(sed -nE 's/^words +([0-9,]+), ([0-9,]+) different/\1 \2/p' "$out" | tr -d ,)" = \
		"$words $different" ]
	[ "$(sed -nE 's/^files +([0-9,]+) .*/\1/p' "$out" | tr -d ,)" = "$n_texts" ]
}
every_text_is_logged() { # each worker that lived to the end says how many texts it counted
	local logged texts
	logged=$(sed -nE 's/^worker [0-9]+ +counted ([0-9]+) texts$/\1/p' "$out" |
		awk '{ sum += $1 } END { print sum + 0 }')
	texts=$(sed -nE 's/.*carried ([0-9,]+) references.*/\1/p' "$out" | tr -d ,)
	if grep -q '^worker killed' "$out"; then
		# Those that it was done with are missing: none, if it was killed at its first.
		[ "$logged" -gt 0 ] && [ "$logged" -le "$texts" ]
	else
		[ "$logged" -eq "$texts" ]
	fi
}
a_worker_dies_and_all_is_reclaimed() {
	local i
	# With few texts the work is over before one can be killed: half a million words do not last.
	if [ ! -d "$scratch/long" ]; then
		mkdir "$scratch/long"
		for i in $(seq 12); do
			cp "$scratch/texts/deep/large" "$scratch/long/$i"
		done
	fi
	for i in 1 2 3 4 5 6 7 8 9 10; do
		run 0 --workers "$1" /usr/share/common-licenses "$scratch/texts" "$scratch/long"
		right
		grep -q 'by SIGKILL at work' "$out" || continue
		grep -q '^reclaimed  *all of it after' "$out"
		# The queue gave its text to another, and the last that it logged came through.
		grep -q 'the queue gave 1 text to another worker$' "$out"
		# Unless that was its first text, of which it had not said anything yet.
		grep -q 'the last it logged: nothing$' "$out" && continue
		grep -qE 'the last it logged: text [0-9]+, [0-9]+ bytes' "$out"
		every_text_is_logged
		return
	done
	echo "none could be killed"
	return 1
}
nobody_is_killed_if_told_so() {
	run 0 --no-kill --workers "$1" "$scratch/texts"
	right
	[ "$(grep -c 'worker killed' "$out")" -eq 0 ]
	[ "$(grep -cE '^worker [0-9]+ +counted' "$out")" -eq "$1" ]
	every_text_is_logged
}
little_memory_takes_several_rounds() {
	local i
	mkdir "$scratch/many"
	for i in $(seq 40); do
		cp "$scratch/texts/deep/large" "$scratch/many/$i"
	done
	run 0 --size 16M --workers 3 "$scratch/many"
	right
	rm -r "$scratch/many"
}
a_file_larger_than_memory_is_left_out() {
	mkdir -p "$scratch/huge"
	head -c 20000000 /dev/zero | tr '\0' '\n' >"$scratch/huge/20M"
	echo two words >"$scratch/huge/small"
	run 0 --size 16M "$scratch/huge"
	grep -q 'left out: .*20M: File too large' "$scratch/err"
	has "2, 2 different"
	right
}
every_default_text_is_counted() {
	run 0
	right
}

# ---- paths ----

a_file_with_several_names_counts_once() {
	mkdir -p "$scratch/names/a"
	echo one two three >"$scratch/names/a/x"
	ln "$scratch/names/a/x" "$scratch/names/y"
	ln -s a/x "$scratch/names/z"
	ln -s ../a "$scratch/names/a/loop"
	ln -s nowhere "$scratch/names/dangling"
	run 0 "$scratch/names" "$scratch/names/a"
	has "3, 3 different"
	right
}
what_is_not_text_is_left_out() {
	mkdir -p "$scratch/binary"
	echo text >"$scratch/binary/text"
	gzip -c /usr/share/common-licenses/BSD >"$scratch/binary/x"
	cp "$wordcount" "$scratch/binary/y"
	mkfifo "$scratch/binary/pipe"
	run 0 "$scratch/binary"
	has "left out: 2 not text, 0 unreadable"
}
a_path_that_is_not_there_is_named() {
	run 1 "$scratch/nowhere"
	grep -q "left out: .*nowhere: No such file" "$scratch/err"
	run 0 "$scratch/nowhere" /usr/share/common-licenses
	grep -q "left out: .*nowhere: No such file" "$scratch/err"
	has "1 unreadable"
}
an_unreadable_file_is_named() {
	mkdir -p "$scratch/secret"
	echo text >"$scratch/secret/text"
	echo secret >"$scratch/secret/closed"
	chmod 0 "$scratch/secret/closed"
	chmod 755 "$scratch" "$scratch/secret"
	mkdir -m 777 "$scratch/other"
	setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_RUNTIME_DIR="$scratch/other" \
		"$wordcount" "$scratch/secret" >"$out" 2>"$scratch/err"
	grep -q "left out: .*closed: Permission denied" "$scratch/err"
	has "1 unreadable"
}
wrong_usage_is_told() {
	local arguments
	for arguments in "--workers 0" "--workers 65" "--workers x" "--workers" "--size 3X" \
		"--size 1M" "--size -1" "--top 0" "--nosuch"; do
		# shellcheck disable=SC2086  # several words
		run 2 $arguments
		[ -s "$scratch/err" ]
	done
}

# ---- deaths ----

start() { # start ARGUMENT...: a run in the background, with the signals of a terminal
	env --default-signal=INT "$wordcount" "$@" >"$out" 2>"$scratch/err" &
	pid=$!
}
children() { # of the run: of whichever of its threads
	cat "/proc/$pid/task"/*/children 2>/dev/null || true
}
all_end() { # all_end PID...: waits until they are gone; the limit is meson's
	local p
	for p in "$@"; do
		while [ -e "/proc/$p" ] && ! grep -q '^State:.*[ZX]' "/proc/$p/status" 2>/dev/null; do
			sleep 0.01
		done
	done
}
await_workers() { # prints the pids of the run's children once there are N
	local n=$1 list=()
	while [ ${#list[@]} -lt "$n" ] && [ -e "/proc/$pid/exe" ]; do
		sleep 0.01
		read -ra list <<<"$(children)"
	done
	echo "${list[@]}"
}
counts_are_right_whoever_kills_workers() {
	local round victim status=0
	start --workers 4 --size 32M
	for round in 1 2 3 4 5 6 7 8; do
		for victim in $(children); do
			# Its server is a child too, and not to be killed.
			case $(cat "/proc/$victim/comm" 2>/dev/null) in
			worker*) break ;;
			esac
			victim=
		done
		[ -z "${victim:-}" ] || kill -KILL "$victim" 2>/dev/null || true
		sleep 0.0$((round * 7 % 10))
	done
	wait "$pid" || status=$?
	cat "$scratch/err"
	[ "$status" -eq 0 ]
	right
}
nothing_outlives() { # nothing_outlives SIGNAL: the parent dies of it, its children with it
	local list
	start --workers 3 --size 32M
	read -ra list <<<"$(await_workers 4)"
	[ ${#list[@]} -ge 4 ] || { echo "it was over too soon" && return 1; }
	kill "-$1" "$pid"
	wait "$pid" || true
	all_end "${list[@]}"
	nothing_left
}
kill_its_server() { # the run's status, and what it said, in $status and $scratch/err
	local list child
	status=0
	start --workers 3 --size 32M
	read -ra list <<<"$(await_workers 4)"
	for child in "${list[@]}"; do
		if [ "$(cat "/proc/$child/comm" 2>/dev/null)" = tarn-server ]; then
			kill -KILL "$child"
		fi
	done
	wait "$pid" || status=$?
	all_end "${list[@]}"
}
a_dead_server_ends_all() {
	local status try
	for try in 1 2 3 4 5; do
		kill_its_server
		[ "$status" -eq 0 ] || break
		right # it was over before we saw it
	done
	echo "status $status at try $try"
	cat "$scratch/err"
	[ "$status" -eq 1 ]
	grep -q 'is gone' "$scratch/err"
}

# ---- the script ----

quickstart_passes_arguments_on() {
	cd "$scratch"
	"$top/tools/quickstart" --no-kill --top 3 texts >"$out"
	right
	[ "$(grep -c '^most frequent' "$out")" -eq 1 ]
	"$top/tools/quickstart" nowhere >"$out" 2>&1 && return 1
	has "nowhere: No such file"
}
help_says_the_same() {
	"$wordcount" --help >"$out"
	"$top/tools/quickstart" --help >"$scratch/help"
	grep '^  --' "$out" | diff - <(grep '^  --' "$scratch/help")
}
a_fresh_clone_builds_and_runs() {
	mkdir "$scratch/clone"
	(cd "$top" && cp -r -- *.build meson_options.txt bench examples lib shm tests tools \
		"$scratch/clone")
	[ ! -d "$top/docs" ] || cp -r "$top/docs" "$scratch/clone"
	unset TARN_BUILD_DIR LD_LIBRARY_PATH # meson leads to the library under test
	cd /
	"$scratch/clone/tools/quickstart" /usr/share/common-licenses >"$out" 2>"$scratch/err" || {
		cat "$scratch/err"
		return 1
	}
	right
	[ -x "$scratch/clone/build/examples/example-wordcount" ]
	# The second time there is nothing to do but to run.
	"$scratch/clone/tools/quickstart" /usr/share/common-licenses >"$out" 2>"$scratch/err"
	[ ! -s "$scratch/err" ]
}

check "words are those of coreutils" top_words_are_those_of_coreutils
check "totals are those of coreutils" totals_are_those_of_coreutils
for workers in 1 2 4 8; do
	check "a worker of $workers dies, all is reclaimed" \
		a_worker_dies_and_all_is_reclaimed $workers
	check "nobody of $workers is killed if told so" nobody_is_killed_if_told_so $workers
done
check "little memory takes several rounds" little_memory_takes_several_rounds
check "a file larger than memory is left out" a_file_larger_than_memory_is_left_out
check "every default text is counted" every_default_text_is_counted
check "a file with several names counts once" a_file_with_several_names_counts_once
check "what is not text is left out" what_is_not_text_is_left_out
check "a path that is not there is named" a_path_that_is_not_there_is_named
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	check "an unreadable file is named" an_unreadable_file_is_named
else
	skip "an unreadable file is named" "needs root and setpriv"
fi
check "wrong usage is told" wrong_usage_is_told
check "nothing is left behind" nothing_left
check "counts are right whoever kills workers" counts_are_right_whoever_kills_workers
for signal in INT TERM KILL; do
	check "nothing outlives SIG$signal" nothing_outlives $signal
done
check "a dead server ends all" a_dead_server_ends_all
check "quickstart passes arguments on" quickstart_passes_arguments_on
check "help says the same" help_says_the_same
check "a fresh clone builds and runs" a_fresh_clone_builds_and_runs
echo "1..$n"
exit $bad
