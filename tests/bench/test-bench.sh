#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# bench-run and tarn bench as people use them. Order, repeats, failures and ratios are shown
# with programs that only pretend to measure; the real ones run with --quick.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ "${1:-}" = --help ]; then
	echo "Usage: test-bench.sh"
	echo "Prints TAP: whether the bench command of \$TARN_BUILD_DIR does what its page says."
	exit
fi
built=${TARN_BUILD_DIR:?}
runner=$built/bench/bench-run
tarn=$built/tools/tarn
scratch=$(mktemp -d)
export XDG_RUNTIME_DIR=$scratch
unset TARN_SERVER TARN_SPIN_US TARN_BENCH_RUN
burner=
clean_up() {
	[ -z "$burner" ] || kill -KILL "$burner" 2>/dev/null || true
	rm -rf -- "$scratch"
}
trap clean_up EXIT

n=0
bad=0
check() { # check WHAT COMMAND...
	local what=$1 status=0
	shift
	set +e
	(
		set -e
		"$@"
	) >"$scratch/said" 2>&1
	status=$?
	set -e
	n=$((n + 1))
	if [ $status -eq 0 ]; then
		echo "ok $n - $what"
	else
		bad=1
		sed 's/^/# /' "$scratch/said" >&2
		echo "not ok $n - $what"
	fi
}
skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}
run() { # run STATUS COMMAND...: it must end so; its output is in $scratch/out and err
	local want=$1 status=0
	shift
	"$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
	if [ "$status" -ne "$want" ]; then
		echo "$* ended with $status, not $want"
		cat "$scratch/out" "$scratch/err"
		return 1
	fi
}
refused() { # refused TEXT COMMAND...: exit 2, nothing on stdout, one line with TEXT on stderr
	local text=$1
	shift
	run 2 "$@"
	[ ! -s "$scratch/out" ]
	[ "$(wc -l <"$scratch/err")" -eq 1 ]
	grep -qF -- "$text" "$scratch/err" || { cat "$scratch/err" && false; }
}
peers=(boost iceoryx zeromq nng ucx redis python)

# ---- programs that pretend ----

pretend=$scratch/programs
mkdir "$pretend"
fake() { # fake NAME: its body comes from stdin
	{
		echo '#!/bin/sh'
		echo "echo $1 >>$scratch/log"
		cat
	} >"$pretend/bench-$1"
	chmod +x "$pretend/bench-$1"
}
value() { # value BENCH ROW COLUMN VALUE CLASS
	printf 'echo '\''{"type":"value","bench":"%s","row":"%s","round":0,"class":"%s",' "$1" "$2" "$5"
	printf '"column":"%s","unit":"ns","versus":"","value":%s,"line_before":100,' "$3" "$4"
	printf '"line_after":100,"others_percent":0}'\''\n'
}
pretended() { # pretended ARGUMENT...
	"$runner" --programs "$pretend" --busy "$@"
}

nothing_is_built_but_the_limits() {
	fake limits < <(value limits "memcpy 64 B" each 3 any)
	run 0 pretended --quick --set peers
	for peer in "${peers[@]}"; do
		grep -qE "^# skipped: $peer: not built: .* was not installed" "$scratch/out" ||
			{ echo "no line for $peer" && cat "$scratch/out" && false; }
	done
	grep -q '^memcpy 64 B ' "$scratch/out"
	run 0 pretended --quick --set peers --json
	[ "$(jq -r 'select(.type == "skipped") | .bench' "$scratch/out" | xargs)" = "${peers[*]}" ]
}
a_peer_that_is_asked_for_is_not_skipped() {
	refused "bench-redis is not there: it needs redis-server" pretended --quick redis
}
programs_run_in_turn_round_by_round() {
	fake limits < <(value limits "memcpy 64 B" each 3 any)
	fake alloc < <(value alloc "64 B, fixed" tarn 10 any)
	fake boost < <(value boost "allocate and release 64 B" each 100 any)
	rm -f "$scratch/log"
	run 0 pretended --rounds 3 limits alloc boost
	[ "$(xargs <"$scratch/log")" = "limits alloc boost limits alloc boost limits alloc boost" ]
}
ratios_are_printed() {
	run 0 pretended --rounds 2 alloc boost --json
	jq -se 'map(select(.type == "comparison" and .with == "boost")) |
		length == 1 and (.[0] | .tarn == 10 and .other == 100 and .n == 2 and .kind == "peer" and
		(.ratio - 0.1 | fabs) < 1e-9)' "$scratch/out"
	run 0 pretended --rounds 2 alloc boost
	grep -qE '^allocate and release 64 B +boost .*10\.0 x faster' "$scratch/out"
}
discarded_runs_are_told() {
	fake limits < <(value limits "memcpy 64 B" each 3 any
		echo "echo '{\"type\":\"discarded\",\"bench\":\"limits\",\"row\":\"r\",\"round\":0,\"class\":\"flip\"," \
			"\"line_before\":100,\"line_after\":500,\"others_percent\":0}'")
	run 0 pretended --rounds 2 limits
	grep -q '^# thrown away and measured again: 2 runs during which the line changed, 0 ' "$scratch/out"
	run 0 pretended --rounds 2 limits --json
	jq -se 'map(select(.type == "discarded")) | length == 2 and .[1].round == 1' "$scratch/out"
	jq -se 'last | .type == "end" and .discarded == 2' "$scratch/out"
}
options_are_handed_on() {
	fake limits <<<"echo \"\$@\" >$scratch/arguments"
	run 0 pretended --rounds 1 --repeats 9 limits
	for option in --json --rounds=1 --repeats=9 --busy --may-skip --cpus=; do
		grep -qF -- "$option" "$scratch/arguments"
	done
}
a_program_that_skips_is_skipped_once() {
	fake boost <<<'echo "# bench-boost skipped: for a reason"; exit 77'
	fake limits < <(value limits "memcpy 64 B" each 3 any)
	rm -f "$scratch/log"
	run 0 pretended --rounds 3 --set peers
	grep -q '^# skipped: boost: for a reason$' "$scratch/out"
	[ "$(grep -c '^boost$' "$scratch/log")" -eq 1 ]
	refused "boost: for a reason" pretended boost
}
a_program_that_fails_does_not_stop_the_others() {
	fake alloc <<<'exit 1'
	fake refs < <(value refs "row" tarn 5 any)
	rm -f "$scratch/log"
	run 1 pretended --rounds 2 alloc refs
	grep -qE '^row +tarn +5' "$scratch/out"
	grep -q 'bench-alloc failed; the others go on' "$scratch/err"
	[ "$(xargs <"$scratch/log")" = "alloc refs refs" ]
	run 1 pretended --rounds 2 alloc refs --json
	jq -se 'last | .failed == 1' "$scratch/out"
}
a_program_that_is_killed_counts_as_failed() {
	fake alloc <<<'kill -KILL $$'
	run 1 pretended --rounds 1 alloc
}
check "a benchmark of which nothing is installed says so for each peer" nothing_is_built_but_the_limits
check "a peer that is asked for by its name is an error when missing" a_peer_that_is_asked_for_is_not_skipped
check "programs run in turn, round by round" programs_run_in_turn_round_by_round
check "ratios to peers are taken and printed" ratios_are_printed
check "runs that were thrown away are told" discarded_runs_are_told
check "the runner hands its options on" options_are_handed_on
check "a program that cannot measure here is skipped, once" a_program_that_skips_is_skipped_once
check "a program that fails does not stop the others" a_program_that_fails_does_not_stop_the_others
check "a program that is killed counts as failed" a_program_that_is_killed_counts_as_failed

# ---- wrong usage ----

check "an unknown set" refused "there is no set nosuch" "$runner" --quick --set nosuch
check "an unknown benchmark" refused "there is no benchmark nosuch" "$runner" --quick nosuch
check "an unknown option" refused "unknown option --nosuch" "$runner" --nosuch
check "no rounds" refused "'0' is not a number of rounds" "$runner" --rounds 0 limits
check "wrong repeats" refused "'-1' is not a number of repeats" "$runner" --repeats -1 limits
check "an impossible CPU" refused "there is no CPU 1000000" "$runner" --cpus 0,1000000 limits
check "an impossible CPU of a program" refused "there is no CPU 1000000" \
	"$built/bench/bench-alloc" --cpus 1000000,0
check "half a pair of CPUs" refused "--cpus: '0' is not two CPUs" "$runner" --cpus 0 limits
check "a plot that cannot be written" refused "/nonexistent/x.svg" \
	"$runner" --quick limits --plot /nonexistent/x.svg

a_cpu_that_others_use_is_refused() {
	local cpu
	cpu=$(taskset -cp $$ | sed -E 's/.*: ([0-9]+).*/\1/')
	taskset -c "$cpu" sh -c 'while :; do :; done' &
	burner=$!
	until [ "$(awk '{ print $14 }' "/proc/$burner/stat")" -ge 10 ]; do # it burns
		sleep 0.02
	done
	refused "CPU $cpu is not free" "$built/bench/bench-alloc" --cpus "$cpu,$cpu"
	refused "CPU $cpu is not free" "$runner" --cpus "$cpu,$cpu" alloc
	kill -KILL "$burner"
}
if command -v taskset >/dev/null; then
	check "a CPU that others use is refused" a_cpu_that_others_use_is_refused
else
	skip "a CPU that others use is refused" "taskset is not installed"
fi

# ---- the real ones ----

each_program_has_its_options() {
	local program option
	for program in "$built"/bench/bench-* "$built"/bench/peers/bench-*; do
		if [ -d "$program" ] || [ ! -x "$program" ]; then
			continue
		fi
		run 0 "$program" --help
		for option in --json --cpus --rounds --repeats --quick; do
			grep -qF -- "  $option" "$scratch/out" || { echo "$program: no $option" && false; }
		done
	done
}
sets_and_programs_are_listed() {
	local program
	run 0 "$runner" --list
	for program in $(find "$built/bench" -name 'bench-*' -type f -perm -u+x | sed 's/.*bench-//') "${peers[@]}"; do
		[ "$program" != run ] || continue
		grep -qE "^  $program +[^ ]" "$scratch/out" || { echo "$program is not listed" && false; }
	done
	grep -qE '^  all +' "$scratch/out"
}
json_is_what_the_schema_says() {
	run 0 "$runner" --quick --json limits touch
	jq -se '.[0] | .type == "head" and .schema == "tarn.bench/1" and (.cpus | length == 2)' \
		"$scratch/out"
	jq -se 'map(select(.type == "value")) | length > 30 and all(
		(.bench, .row, .column, .unit, .versus, .class | type == "string") and
		(.value, .round, .line_before, .line_after, .others_percent | type == "number"))' \
		"$scratch/out"
	jq -se 'map(select(.type == "curve")) | all((.ns | length) == (.percent | length) and
		(.ns == (.ns | sort)))' "$scratch/out"
	jq -se 'map(select(.type == "summary")) | length > 30 and all(.n == 1 and .min <= .median)' \
		"$scratch/out"
	jq -se 'map(select(.type == "comparison" and .with == "private pages")) | length == 1' "$scratch/out"
	jq -se 'last | .type == "end" and .failed == 0' "$scratch/out"
}
a_program_alone_prints_the_same_lines() {
	run 0 "$built/bench/bench-touch" --quick --json --rounds 2 --size 64K
	jq -se '.[0].schema == "tarn.bench/1" and .[0].rounds == 2 and
		(map(select(.type == "value" and .column == "tarn" and .row == "64 KiB, fresh") | .round) == [0, 1])' \
		"$scratch/out"
}
point() { # point AXIS X WHAT VALUE
	printf 'echo '\''{"type":"value","bench":"growth","row":"%s %s","round":0,"class":"near",' "$2" "$1"
	printf '"column":"p50","unit":"ns","versus":"","value":%s,"line_before":100,"line_after":100,' "$4"
	printf '"others_percent":0,"axis":"%s","x":%s,"what":"%s"}'\''\n' "$1" "$2" "$3"
}
a_plot_is_drawn() {
	local file="$scratch/a b'c.svg" text
	fake growth < <(
		for n in 1 10 100; do
			point bytes $n "sizes" $((100 + n))
			point clients $n "clients" $((200 + n))
			point objects $n "objects" $((300 + n))
		done
		printf 'echo '\''{"type":"curve","bench":"growth","row":"trips","round":0,"class":"near",'
		printf '"percent":[0,10,25,50,75,90,95,98,99,99.5,99.9,99.95,99.99,100],'
		printf '"ns":[1,2,3,4,5,6,7,8,9,10,11,12,13,14]}'\''\n'
	)
	run 0 pretended --rounds 2 growth --plot "$file"
	for text in "<svg" "</svg>" "Latency over percentiles" "Cost against size" "Cost against clients" \
		"Cost against live blocks" "growth: trips" "growth: sizes, p50"; do
		grep -qF -- "$text" "$file" || { echo "no $text" && false; }
	done
	[ ! -s "$scratch/err" ] || { cat "$scratch/err" && false; }
	# Nothing to draw: the file is not touched.
	fake growth < <(value growth row count 3 any | sed 's/"unit":"ns"/"unit":"x"/')
	cp "$file" "$scratch/before"
	run 0 pretended --rounds 1 growth --plot "$file"
	cmp "$file" "$scratch/before"
}
a_plot_of_real_figures_is_drawn() {
	run 0 "$runner" --quick touch --plot "$scratch/touch.svg"
	grep -qF 'touch: fresh, private' "$scratch/touch.svg"
}
without_gnuplot_there_is_no_plot() {
	run 0 env PATH=/nonexistent "$runner" --quick touch --plot "$scratch/none.svg"
	grep -q 'no plot: gnuplot is not installed' "$scratch/err"
	[ ! -e "$scratch/none.svg" ]
}
tarn_bench_is_the_runner() {
	run 0 "$tarn" bench --list
	cp "$scratch/out" "$scratch/list"
	run 0 "$runner" --list
	cmp "$scratch/list" "$scratch/out"
	refused "tarn bench: there is no set nosuch" "$tarn" bench --set nosuch
	run 0 "$tarn" bench --quick touch
	grep -q '^1 MiB, fresh' "$scratch/out"
}
tarn_bench_finds_no_runner() {
	cp "$tarn" "$scratch/tarn-alone"
	run 2 "$scratch/tarn-alone" bench --list
	grep -q 'the benchmarks are not installed' "$scratch/err"
}
options_are_handed_to_the_runner() {
	printf '#!/bin/sh\nprintf "%%s\\n" "$@"\n' >"$scratch/runner"
	chmod +x "$scratch/runner"
	run 0 env TARN_BENCH_RUN="$scratch/runner" "$tarn" bench alloc --set touch --json --cpus=1,0 \
		--plot "a b.svg" --set idle refs --rounds 7
	diff - "$scratch/out" <<-'END'
		--set=touch
		--json
		--cpus=1,0
		--plot=a b.svg
		--set=idle
		--rounds=7
		alloc
		refs
	END
}
the_runner_has_all_options_of_tarn_bench() {
	diff <("$tarn" bench --help | grep -oE '^ +--[a-z-]+' | tr -d ' ' | sort) \
		<("$runner" --help | grep -oE '^  --[a-z-]+' | tr -d ' ' | sort |
			grep -vx -e --help -e --may-skip -e --programs)
}
# told_to_end SIGNAL STATUS PROGRAM...: in the midst of it; then all that it began is gone.
told_to_end() {
	local signal=$1 want=$2 status=0 pid program own p
	shift 2
	"$@" >"$scratch/out" 2>"$scratch/err" </dev/null &
	pid=$!
	own=
	# The program beneath it, if it runs one, and at least two processes of that.
	until [ "$(wc -w <<<"$own")" -ge 2 ]; do
		kill -0 $pid || { cat "$scratch/err"; return 1; }
		program=$(cat /proc/$pid/task/$pid/children 2>/dev/null)
		own=$program
		for p in $program; do own+=" $(cat "/proc/$p/task/$p/children" 2>/dev/null || true)"; done
		sleep 0.05
	done
	kill -"$signal" $pid
	wait $pid || status=$?
	[ $status -eq "$want" ] || { echo "it ended with $status, not $want"; cat "$scratch/err"; return 1; }
	# The kernel ends what is left when its parent is gone: at once, but not before that.
	for p in $own; do
		while [ -e "/proc/$p" ] && ! grep -q '^State:.*[ZX]' "/proc/$p/status" 2>/dev/null; do sleep 0.05; done
	done
	[ -z "$(find "$scratch" -type s)" ]
}
told_to_end_nothing_of_it_stays() {
	told_to_end TERM 143 "$tarn" bench --busy --rounds 1000 --repeats 0 stream
	# Who runs this with nohup has it ignored, and what a shell found ignored it cannot take back.
	told_to_end HUP 129 env --default-signal=HUP "$built/bench/bench-handover" --busy --rounds 1000
}
check "every program has --help, --json, --cpus, --rounds" each_program_has_its_options
check "all sets and programs are listed" sets_and_programs_are_listed
check "JSON is what the schema says" json_is_what_the_schema_says
check "a program alone prints the same lines" a_program_alone_prints_the_same_lines
if command -v gnuplot >/dev/null; then
	check "a plot is drawn" a_plot_is_drawn
	check "a plot of real figures is drawn" a_plot_of_real_figures_is_drawn
else
	skip "a plot is drawn" "gnuplot is not installed"
	skip "a plot of real figures is drawn" "gnuplot is not installed"
fi
check "without gnuplot there is no plot, which is said" without_gnuplot_there_is_no_plot
check "tarn bench is the runner" tarn_bench_is_the_runner
if [ -e /usr/local/libexec/tarn/bench-run ]; then
	skip "tarn bench says when there is nothing to run" "the benchmarks are installed here"
else
	check "tarn bench says when there is nothing to run" tarn_bench_finds_no_runner
fi
check "options of tarn bench are handed to the runner" options_are_handed_to_the_runner
check "the runner has all options of tarn bench" the_runner_has_all_options_of_tarn_bench
check "told to end by a signal, nothing of it stays" told_to_end_nothing_of_it_stays

echo "1..$n"
[ $bad -eq 0 ]
