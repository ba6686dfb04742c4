#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tarn as one looks with it at objects and calls them: types, objects, introspect, call, trace,
# errors, leaks, ping; of servers that run, hang, or have left a dump.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ $# -ne 2 ] || [ "$1" = --help ]; then
	echo "Usage: test-cli-objects.sh TEST-CLI-CLIENT CLI-MODULE.SO"
	echo "Prints TAP: whether tarn of \$TARN_BUILD_DIR tells of objects what is the case."
	[ $# -eq 2 ]
	exit
fi
# shellcheck source=tests/e2e/lib-cli.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib-cli.sh"
module=$(realpath -- "$2")

printed() { # printed 0xHEX: as index and generation
	echo "$(($1 & 0xfffffff)):$(($1 >> 28))"
}
refused() { # refused TEXT ARGUMENT...: one line that has TEXT, exit 2, nothing on stdout
	tarn 2 -s "$name" "${@:2}"
	silent out
	one_line "$1"
}
absent() { # absent TEXT ARGUMENT...: the same with exit 1
	tarn 1 -s "$name" "${@:2}"
	silent out
	one_line "$1"
}
asks() { # asks COMMAND FILTER ARGUMENT...: of its JSON
	tarn 0 -s "$name" "$1" --json "${@:3}"
	silent err
	same "$(json .schema)" "tarn.$1/1"
	same "$(json .server.name)" "$name"
	json "$2"
}

# ---- a server without types ----

serve "$name" --size 16M --spin-us 0
nothing() { # nothing COMMAND MEMBER
	asks "$1" ".$2 == []"
	tarn 0 -s "$name" "$1" --noheadings
	silent out
}
check "l20_a_server_without_types_has_no_types" nothing types types
check "l20_a_server_without_types_has_no_objects" nothing objects objects
check "a_server_without_types_has_no_calls" nothing trace calls
check "a_server_without_types_has_no_errors" nothing errors errors
check "a_server_without_types_has_no_leaks" nothing leaks leaks
check "an_unknown_object_is_an_error" absent "5:3" introspect 5:3
check "show_of_an_unknown_object_is_an_error" absent "5:3" show 5:3

# ---- what nobody can reach ----

play leak "$name"
leaker=$player
leaks_now() { # leaks_now STATUS ARGUMENT...: there are leaks just now, or not
	timeout 60 "$tools/tarn" -s "$name" leaks "${@:2}" >"$scratch/out" 2>"$scratch/err" </dev/null
	[ $? -eq "$1" ]
}
lists_that_hold_each_other() {
	wait_for leaks_now 1 --json
	silent err
	same "$(json .schema)" tarn.leaks/1
	json '.leaks | length > 0 and all(.type == "tarn.List" and .claims == 0 and .edges > 0 and .refs == .edges)'
	json '.leaks[0] | .id != null and .state == "live" and .holds > 0'
	wait_for leaks_now 1
	grep -qE '^ *ID +REFS +TYPE ' "$scratch/out"
	grep -qE '^ *[0-9]+:[0-9]+ +[0-9]+ +tarn\.List ' "$scratch/out"
}
check "leaks_are_told_while_the_server_has_no_time_for_them" lists_that_hold_each_other
kill "$leaker"
finish "$leaker"
check "leaks_are_ended_when_it_has" wait_for leaks_now 0 --json

# ---- containers and locks ----

play contents "$name"
shown=$player
show_dict() {
	tarn 0 -s "$name" show settings
	grep -qE '^tarn\.Dict [0-9]+:[0-9]+: ' "$scratch/out"
	grep -qFx '"a": 1' "$scratch/out"
	grep -qFx '"pair": [2, 3]' "$scratch/out"
	asks show '.type == "tarn.Dict" and (.items | length == 2) and .more == false and .items[0].key == "a" and
		.items[0].value == 1 and .items[1].value == [2, 3]' settings
}
show_list() {
	tarn 0 -s "$name" show numbers --limit 2
	same "$(grep -c '^[0-9]*: [0-9]*$' "$scratch/out")" 2
	grep -q -- '--limit 2' "$scratch/out"
	asks show '[.items[].value] == [0, 10, 20, 30, 40] and .more == false' numbers --limit 0
	asks show '[.items[].key] == [0, 1, 2] and .more' numbers --limit 3
}
show_lock() {
	tarn 0 -s "$name" show gate
	grep -qE "^tarn\.Lock [0-9]+:[0-9]+: .*\b${said[client]}\b" "$scratch/out"
	asks show '.type == "tarn.Lock" and .items == null and (.describe | length > 0)' gate
}
check "show_of_a_dict" show_dict
check "show_of_a_list_as_far_as_the_limit" show_list
check "show_of_a_lock_tells_its_holder" show_lock
end_now "$shown"
end_server

# ---- one with objects ----

serve "$name" --size 64M --spin-us 0 --load "$module"
main=$server
play objects "$name"
holder=$player
outer=$(printed "${said[outer]}")
inner=$(printed "${said[inner]}")
sent=$(printed "${said[sent]}")
channel=$(printed "${said[channel]}")
token=${said[token]}
number=${said[client]}

types() {
	asks types '.types == [{name: "Lens", objects: 3, methods: 9, size_bytes: 8, concurrency: "parallel",
		flags: "inline", number: .types[0].number, hash: .types[0].hash}] and (.types[0].hash | length == 16)'
	tarn 0 -s "$name" types
	grep -qE '^NAME +OBJECTS +METHODS +SIZE +CALLS +FLAGS$' "$scratch/out"
	grep -qE '^Lens +3 +9 +8B +parallel +inline$' "$scratch/out"
	tarn 0 -s "$name" types --noheadings -o methods,name
	grep -qE '^ *9 +Lens$' "$scratch/out"
}
listing() { # in the order of creation
	tarn 0 -s "$name" objects
	silent err
	{
		echo "ID REFS TYPE PREVIEW"
		echo "$outer 4 Lens Lens of 2"
		echo "$inner 1 Lens Lens of 3"
		echo "$sent 2 Lens Lens of 4"
	} >"$scratch/want"
	tr -s ' ' <"$scratch/out" | diff "$scratch/want" -
}
objects_json() {
	asks objects "[.objects[].id] == [\"$outer\", \"$inner\", \"$sent\"] and
		([.objects[].created] | . == sort and length == 3) and
		(.objects[0] | .refs == .claims + .edges and .holds == 1 and .creator == $number and
			.state == \"live\" and .type == \"Lens\" and .type_number > 0 and .preview == \"Lens of 2\") and
		(.objects[1] | .claims == 0 and .edges == 1 and .holds == 0)"
	asks objects '.objects[1] == {preview: "Lens of 3", edges: 1}' -o preview,edges
}
edges_are_told() {
	asks refs "[.refs[] | {id, kind, units, via, client}] ==
		[{id: \"$inner\", kind: \"stored\", units: 1, via: \"$outer\", client: null}]" "$inner"
	asks refs "[.refs[].kind] == [\"held\", \"held\", \"exported\", \"named\"] or
		([.refs[].kind] | sort) == [\"exported\", \"held\", \"held\", \"named\"]" "$outer"
	asks refs "[.refs[] | select(.kind == \"transit\") | .via] == [\"$channel\"]" "$sent"
	tarn 0 -s "$name" refs "$inner" --noheadings -o kind,via
	grep -qE "^stored +$outer\$" "$scratch/out"
}
blocks_have_objects() {
	asks blocks "([.blocks[] | select(.kind == \"object\") | .id] | sort) == ([\"$outer\", \"$inner\", \"$sent\"] | sort)"
}
check "r1_types_of_a_module_are_told" types
check "l21_objects_are_listed_with_counts_and_previews_in_the_order_of_creation" listing
check "l21_objects_as_json" objects_json
check "n4_refs_tell_the_object_that_holds" edges_are_told
counted() {
	asks stat '.objects | .objects == 3 and .edges == 1 and .calls == 1 and .watches == 1'
}
check "blocks_show_objects" blocks_have_objects
check "l20_stat_counts_objects_and_calls" counted

introspect() {
	asks introspect "(.object | .id == \"$outer\" and .refs == 4 and .preview == \"Lens of 2\") and
		.holds == [\"$inner\"] and (.held_by | length == 4 and any(. == \"a name\") and any(. == \"a token\")) and
		[.methods[].method] == [\"scale\", \"echo\", \"label\", \"hold\", \"crack\", \"linger\", \"spawn\",
			\"factor\", \"factor=\"] and
		.methods[0] == {method: \"scale\", arguments: \"d\", result: \"d\", result_type: null,
			flags: \"inline,read\"} and
		.methods[6].result_type == \"Lens\"" "$outer"
	tarn 0 -s "$name" introspect lens
	grep -qE "^Lens $outer, 4 refs: Lens of 2\$" "$scratch/out"
	grep -qE "^holds $inner\$" "$scratch/out"
	# Who holds it is said first, then what it holds, and neither in between.
	same "$(grep -oE '^(held|holds)' "$scratch/out" | uniq | tr '\n' ' ')" 'held holds '
	grep -qE "^held by client $number \(test-cli-client $holder\)\$" "$scratch/out"
	grep -qE '^METHOD +ARGUMENTS +RESULT +RESULTTYPE +FLAGS$' "$scratch/out"
	grep -qE '^label +sq +s +- +inline,read$' "$scratch/out"
	tarn 0 -s "$name" introspect "$inner"
	grep -qE "^held by object $outer\$" "$scratch/out"
}
introspect_by_token() {
	asks introspect ".object.id == \"$outer\"" "$token"
}
check "r15_introspect_lists_methods_holders_and_what_is_held" introspect
check "p3_introspect_takes_a_token" introspect_by_token

# ---- calls ----

answers() { # answers TEXT ARGUMENT...: what call prints
	tarn 0 -s "$name" call "${@:2}"
	silent err
	same "$(cat "$scratch/out")" "$1"
}
gives() { # gives FILTER ARGUMENT...: of its JSON
	asks call "$1" "${@:2}"
}
check "r17_call_by_name" answers 6.0 lens scale 3
check "r17_call_by_id" answers 6.0 "$outer" scale 3
check "r17_call_by_hexadecimal_id" answers 9.0 "$(printf '0x%x' $(((${inner#*:} << 28) | ${inner%:*})))" scale 3
check "r17_call_by_token" answers 5.0 "$token" scale 2.5
check "call_takes_negative_numbers" answers -6.0 lens scale -3
check "call_of_a_field" answers 2.0 lens factor
check "call_without_a_result" answers "" lens factor= 2
check "call_with_two_results" answers $'1\n"a"' lens echo 1 '"a"'
check "strings_need_no_quotes_where_strings_are_wanted" answers '"7 up-3"' lens label "7 up" 3
check "strings_may_have_quotes" answers '"a b-3"' lens label '"a b"' 3
check "call_echoes_every_kind" answers 'nil
true
-5
5u
1.5
"a\n"
b"\x00raw"
[1, [2]]
{"a": 1, 5: nil}' lens echo nil true -- -5 5u 1.5 '"a\n"' 'b"\x00raw"' '[1, [2]]' '{"a": 1, 5: nil}'
# shellcheck disable=SC2016
check "call_echoes_every_kind_as_json" gives '.result == [null, true, -5, 5, 1.5, "a\n\u0000", {bytes: "00ff"},
	[1, [2]], {a: 1, "5": null}] and .method == "echo" and .error == null and .took_ns > 0' \
	lens echo nil true -- -5 5u 1.5 '"a\n\x00"' 'b"\x00\xff"' '[1, [2]]' '{"a": 1, 5: nil}'
check "d9_references_are_arguments_at_any_depth" gives \
	".result == [{object: \"$inner\", type: \"Lens\"}, [{object: \"$outer\", type: \"Lens\"}, 1]]" \
	lens echo "@$inner" '[<@lens>, 1]'
check "references_print_as_objects" answers "<object $inner>" lens echo "@$inner"
held_by_call() {
	tarn 0 -s "$name" call lens hold "@$sent"
	silent out
	asks refs "[.refs[] | select(.kind == \"stored\") | .via] == [\"$outer\"]" "$sent"
}
check "n1_call_stores_a_reference" held_by_call

thrown() {
	tarn 1 -s "$name" call lens crack 7
	silent out
	grep -qE "^\[tarnd $main\] Traceback \(most recent call last\):\$" "$scratch/err"
	grep -qE "^\[tarnd $main\]   File \".*cli-module.c\", line [0-9]+, in crack\$" "$scratch/err"
	grep -qE "^\[tarnd $main\] ValueError: crack number 7\$" "$scratch/err"
	tarn 1 -s "$name" call lens crack 7 --json
	same "$(json .schema)" tarn.call/1
	json ".result == null and .error.domain == \"ValueError\" and .error.message == \"crack number 7\" and
		.error.pid == $main and .error.code == \"TARN_EREMOTE\" and .error.causes == [] and
		([.error.frames[] | select(.function == \"crack\") | .line > 0] | any)"
	tarn 1 -s "$name" call lens crack 8
}
check "e3_what_a_method_throws_is_printed_whole" thrown
errors() {
	asks errors '[.errors[] | {domain, message, count, code}] ==
		[{domain: "ValueError", message: "crack number 7", count: 2, code: "TARN_EREMOTE"},
		 {domain: "ValueError", message: "crack number 8", count: 1, code: "TARN_EREMOTE"}] and
		(.errors[0] | .first_ago_ns >= .last_ago_ns and (.place | test("cli-module.c:[0-9]+$")))'
	tarn 0 -s "$name" errors
	grep -qE '^COUNT +LAST +DOMAIN +MESSAGE +PLACE$' "$scratch/out"
	grep -qE '^ *2 +[0-9]+(ms|s) +ValueError +crack number 7 +.*cli-module.c:[0-9]+$' "$scratch/out"
}
check "e3_errors_are_kept_once_each_with_their_place" errors

# ---- calls that are under way ----

trace() {
	asks trace "[.calls[] | {client, pid, object, type, method, state}] == [{client: $number, pid: $holder,
		object: \"$outer\", type: \"Lens\", method: \"linger\", state: \"running\"}] and
		.calls[0].running_ns > 0 and .calls[0].call > 0"
	asks trace "[.calls[] | select(.state == \"watch\") | .object] == [\"$sent\"]" --all
	tarn 0 -s "$name" trace
	grep -qE '^CALL +FOR +CLIENT +PID +OBJECT +TYPE +METHOD +STATE$' "$scratch/out"
	grep -qE "^ *[0-9]+ +[0-9.]+(us|ms|s|m) +$number +$holder +$outer +Lens +linger +running\$" "$scratch/out"
}
check "trace_shows_the_call_that_goes_on" trace
deaths() { "$tools/tarn" -s "$name" stat --json | jq .clients.deaths; }
no_deaths() { # who looks and calls detaches in order, also when it fails
	local before
	before=$(deaths)
	tarn 0 -s "$name" call lens scale 1
	tarn 2 -s "$name" call lens nosuch
	tarn 2 -s "$name" call lens echo '{'
	tarn 1 -s "$name" call lens crack 7
	tarn 1 -s "$name" call nosuch scale 1
	tarn 1 -s "$name" introspect "$channel"
	tarn 0 -s "$name" introspect lens
	tarn 0 -s "$name" show lens
	tarn 1 -s "$name" show 77:77
	tarn 0 -s "$name" ping
	same "$(deaths)" "$before"
}
check "commands_that_attach_are_no_deaths" no_deaths
without_stdout() { # what is printed reaches nobody, the server and its memory least of all
	local status=0
	"$tools/tarn" -s "$name" call lens scale 1 >&- 2>"$scratch/err" || status=$?
	same "$status" 2
	one_line "cannot write"
	status=0
	"$tools/tarn" -s "$name" call lens scale 1 <&- >&- 2>&- || status=$?
	same "$status" 2
	tarn 0 -s "$name" check
}
check "call_with_stdout_closed" without_stdout
timed_out() {
	tarn 2 -s "$name" --timeout 50ms call lens linger
	silent out
	one_line "no answer within 0.050 s"
}
check "d18_call_takes_a_timeout" timed_out
one_call() { asks trace '[.calls[].method] == ["linger"]'; }
check "d18_what_timed_out_is_cancelled" wait_for one_call
latency() {
	tarn 0 -s "$name" stat --latency --json
	json '.latency[] | select(.client != null and .kind == "call") | .messages > 0 and .waits > 0 and
		.p50_ns >= 256 and .max_ns >= .p50_ns'
	json '[.latency[].kind] | all(. != "other")'
}
check "waits_for_calls_are_counted" latency

# ---- ping ----

ping() {
	asks ping '[.pings[].ping] == [1, 2, 3] and ([.pings[].time_ns] | min) == .min_ns and
		.min_ns > 0 and .min_ns <= .median_ns and .median_ns <= .max_ns'
	tarn 0 -s "$name" ping -n 5
	grep -qE '^PING +TIME$' "$scratch/out"
	same "$(grep -cE '^ *[0-9]+ +[0-9.]+(ns|us|ms|s)$' "$scratch/out")" 5
	grep -qE '^min [0-9.]+(ns|us|ms|s), median [0-9.]+[a-z]+, max [0-9.]+[a-z]+$' "$scratch/out"
}
check "l22_ping_tells_how_soon_it_is_answered" ping
check "ping_count_0" refused "--count: 0" ping --count 0

# ---- wrong input ----

check "an_id_that_is_none" refused "OBJ: '5:'" call 5: scale 1
check "a_token_that_is_none" refused "OBJ: 'tarn1:xyz'" introspect tarn1:xyz
check "an_empty_name" refused "OBJ: ''" call "" scale
check "a_name_that_nothing_has" absent "'nosuch'" call nosuch scale 1
check "an_id_that_nothing_has" absent "77:77" call 77:77 scale 1
check "an_id_of_a_channel" absent "$channel" introspect "$channel"
check "a_method_that_is_none" refused "nosuch" call lens nosuch
check "an_argument_that_is_none" refused "argument 2: '{'" call lens echo 1 '{'
check "an_argument_that_is_two" refused "argument 1: '1 2'" call lens echo '1 2'
check "text_without_quotes_where_any_value_goes" refused "A string is in quotes" call lens echo nice
check "an_argument_that_is_nothing" refused "argument 1: ''" call lens echo ''
check "a_reference_that_is_none" refused "reference: '5:'" call lens echo @5:
check "a_reference_that_nothing_has" absent "88:8" call lens echo '[<@88:8>]'
check "too_few_arguments" refused "argument" call lens scale
check "arguments_of_a_wrong_kind" refused "double" call lens scale '"x"'
check "errors_of_a_dump" refused "'--from'" errors --from "$scratch/d"

# ---- dumps, and a server that hangs ----

told() { # told DIR ARGUMENT...: what the commands say, without what time changes and a copy lacks
	local command
	mkdir -p "$1"
	for command in types objects trace leaks refs blocks check; do
		tarn 0 "${@:2}" "$command" --json
		jq 'del(.source, .calls?[]?.running_ns, .calls?[]?.method, .objects?[]?.preview, .refs?[]?.age_ns,
			.blocks?[]?.age_ns)' "$scratch/out" >"$1/$command"
	done
}
dumped() {
	tarn 0 -s "$name" dump "$scratch/d"
	told "$scratch/live" -s "$name"
	mkdir -p "$scratch/dead"
	local command
	for command in types objects trace leaks refs blocks check; do
		tarn 0 "$command" --from "$scratch/d" --json
		same "$(json .source)" dump
		jq 'del(.source, .calls?[]?.running_ns, .calls?[]?.method, .objects?[]?.preview, .refs?[]?.age_ns,
			.blocks?[]?.age_ns)' "$scratch/out" >"$scratch/dead/$command"
	done
	diff -r "$scratch/live" "$scratch/dead"
	tarn 0 objects --from "$scratch/d" --noheadings
	grep -qE "^$outer +3 +Lens +-\$" "$scratch/out" # the token is used up
}
check "a_dump_tells_types_objects_and_calls" dumped
kill -STOP "$main"
hung() {
	told "$scratch/hung" -s "$name" --timeout 100ms
	diff -r "$scratch/live" "$scratch/hung"
	tarn 0 -s "$name" --timeout 100ms objects
	one_line "does not answer: process $main is stopped"
}
hung_ping() {
	tarn 2 -s "$name" --timeout 100ms ping
	silent out
	one_line "in time"
}
hung_errors() {
	tarn 2 -s "$name" --timeout 100ms errors
	silent out
	grep -q "only a server that answers tells it" "$scratch/err"
}
check "a_server_that_hangs_is_seen_all_the_same" hung
check "a_server_that_hangs_does_not_answer_ping" hung_ping
check "errors_of_a_server_that_hangs" hung_errors
kill -CONT "$main"

# ---- the schema ----

documented() { # every member of every answer is in docs/json-schema.md, in its section
	local command
	awk '/^## /{on = index($0, "All") > 0} on' "$top/docs/json-schema.md" >"$scratch/common"
	for command in types objects "introspect lens" "call lens scale 1" "call lens crack 7" "trace --all" \
		errors leaks ping; do
		read -ra words <<<"$command"
		"$tools/tarn" "${words[0]}" -s "$name" "${words[@]:1}" --json >"$scratch/out" 2>/dev/null || true
		awk -v want="tarn.${words[0]}/1" '/^## /{on = index($0, want) > 0} on' "$top/docs/json-schema.md" >"$scratch/page"
		[ -s "$scratch/page" ] || {
			echo "no section of tarn.${words[0]}/1"
			return 1
		}
		jq -r '[paths | map(strings)] | map(.[-1]) | unique[] | select(. != null)' "$scratch/out" |
			while read -r member; do
				grep -qF "\`$member\`" "$scratch/page" "$scratch/common" || {
					echo "${words[0]}: $member is not documented"
					return 1
				}
			done
	done
}
check "all members of JSON are documented" documented

# ---- the end ----

kill "$holder"
finish "$holder"
ended() { asks objects '.objects == []'; }
check "l20_objects_end_with_their_last_claim" wait_for ended
clean_check() {
	tarn 0 -s "$name" check --json
	json '.count == 0 and .findings == []'
}
check "the books are right" clean_check
end_server
left() {
	comm -13 "$scratch/lost-before" <(lost_names | sort) >"$scratch/lost"
	silent lost
	[ -z "$(find "$scratch/tarn" -name '*.sock')" ]
}
check "nothing is left" left
end_tests
