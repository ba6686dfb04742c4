#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tarn as one looks with it into servers that run, hang or are gone: ls, copies, dumps, ages and
# doubts, waits, --watch, colours, completions, doctor; and the documented members of its JSON.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ $# -ne 1 ] || [ "$1" = --help ]; then
	echo "Usage: test-cli-look.sh TEST-CLI-CLIENT"
	echo "Prints TAP: whether tarn of \$TARN_BUILD_DIR tells what is the case."
	[ $# -eq 1 ]
	exit
fi
# shellcheck source=tests/e2e/lib-cli.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib-cli.sh"
asking=(stat clients blocks refs check)

printed() { # printed 0xHEX: as index and generation
	echo "$(($1 & 0xfffffff)):$(($1 >> 28))"
}

# ---- serve ----

ls_row() { # ls_row NAME FILTER: of its row
	tarn 0 ls --json --timeout 300ms
	silent err
	same "$(json .schema)" tarn.ls/1
	json ".servers[] | select(.name == \"$1\") | $2"
}
server_program=("$tools/tarn" serve)
serve "$name-kept" --size 64M
kept=$server
replaced() {
	local first
	first=$(ls_row "$name-kept" .pid)
	[ "$first" -ne "$kept" ]
	kill -9 "$first"
	tarn 0 -s "$name-kept" check
	[ "$(ls_row "$name-kept" .pid)" -ne "$first" ]
}
check "tarn serve survives kill -9 of its server" replaced
check "and once more" replaced
end_server
server_program=("$tools/tarn" serve --keeper off)
serve "$name" --size 64M --spin-us 0
server_program=("$tools/tarnd")
main=$server
check "tarn serve serves" tarn 0 -s "$name" check
play hold "$name"
holder=$player
held=$(printed "${said[held]}")
sealed=$(printed "${said[sealed]}")
sent=$(printed "${said[sent]}")
held_index=${held%:*}

# ---- ls ----

ls_running() {
	ls_row "$name" ".pid == $main and .state == \"running\" and .clients == 1 and .blocks == 4 and
		.arena_bytes == 67108864 and .used_bytes > 9000 and .up_ns > 0 and .use_percent >= 0"
	same "$(ls_row "$name" .socket)" "$scratch/tarn/$name.sock"
	tarn 0 ls
	grep -qE '^NAME +PID +STATE +UP +CLIENTS +BLOCKS +USED +SIZE +USE%$' "$scratch/out"
	grep -qE "^$name +$main +running +[0-9]+(ms|s) +1 +4 +[0-9.]+K +64\.0M +[0-9.]+\$" "$scratch/out"
}
check "ls: a running server" ls_running

try_serve "@$name" --size 1M
abstract=$server
check "ls: an abstract name" ls_row "@$name" ".pid == $abstract and .state == \"running\""
end_server
try_serve "$scratch/elsewhere.sock" --size 1M
elsewhere=$server
check "ls: a path anywhere" ls_row "$scratch/elsewhere.sock" ".pid == $elsewhere and .state == \"running\""
end_server
try_serve "$name-dead" --size 1M
end_now "$server"
check "ls: a server that was killed" ls_row "$name-dead" '.state == "dead" and .pid == null and .clients == null'
rm -f "$scratch/tarn/$name-dead".sock*

# A server of another version: it answers as such, whatever it is asked.
cat >"$scratch/other.py" <<'END'
import socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(sys.argv[1])
s.listen(8)
print("READY", flush=True)
while True:
    c, _ = s.accept()
    q = c.recv(4096)
    if len(q) >= 8:
        magic, kind = struct.unpack_from("<II", q)
        c.send(struct.pack("<IIiI8Q256sQ", magic, kind, -4100, 0, *[0] * 8, b"another version", 0))
    c.close()
END
mkfifo "$scratch/other"
python3 "$scratch/other.py" "$scratch/tarn/$name-other.sock" >"$scratch/other" &
other=$!
started[other]=1
read -r _ <"$scratch/other"
check "ls: another version" ls_row "$name-other" ".state == \"other version\" and .pid == $other"
# With more of them than the table had room for at first, and in another order.
python3 - "$scratch/tarn" <<'END'
import socket, sys
for i in range(20):
    socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).bind("%s/a%d.sock" % (sys.argv[1], i))
    socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).bind("%s/z%d.sock" % (sys.argv[1], i))
END
check "ls: notes stay with their servers" ls_row "$name-other" '.note | test("another version")'
check "ls: sockets that are left" ls_row z7 '.note == "its socket is left"'
rm -f "$scratch/tarn"/[az][0-9]*.sock
other_version() {
	tarn 2 -s "$name-other" "$1"
	silent out
	one_line "another version"
}
for command in "${asking[@]}"; do
	check "$command of another version" other_version "$command"
done
end_now "$other"
rm -f "$scratch/tarn/$name-other.sock"

# ---- ages, doubts, errors, waits ----

rows() { # rows COMMAND FILTER ARGUMENT...: of its rows
	tarn 0 -s "$name" "$1" --json "${@:3}"
	json ".$1[] | $2"
}
check "blocks have an age" rows blocks "select(.id == \"$held\") | .age_ns >= 0"
older() {
	local before
	before=$(rows blocks "select(.id == \"$held\") | .age_ns")
	[ "$(rows blocks "select(.id == \"$held\") | .age_ns")" -ge "$before" ]
}
grows() {
	local before
	before=$(rows blocks "select(.id == \"$held\") | .age_ns")
	wait_for eval "[ \"\$(rows blocks 'select(.id == \"$held\") | .age_ns')\" -gt $((before + 20000000)) ]"
}
check "ages never fall" older
check "ages grow with time" grows
check "claims bear the age of their object" rows refs ".age_ns > 0" "$held"
no_consumer() {
	same "$(rows refs .doubt "$sent")" no-consumer
	tarn 0 -s "$name" refs --leaks 999h --json
	same "$(json '[.refs[].id] | join(" ")')" "$sent"
}
check "refs --leaks: what nobody can receive" no_consumer
all_old() {
	tarn 0 -s "$name" refs --leaks 0 --json
	json '[.refs[].kind] | all(. != "granted")'
	json '[.refs[] | select(.doubt == "old")] | length > 0'
	json '.refs[0].bytes > 0'
}
check "refs --leaks 0: all that is made" all_old

play fail "$name"
failed=${said[client]}
last_error() {
	rows clients "select(.id == $failed) | .error == \"alloc ENOMEM\" and .errors == 1 and .error_ago_ns >= 0"
	tarn 0 -s "$name" clients -o id,error,errors,errorago
	grep -qE "^ *$failed +alloc ENOMEM +1 +[0-9]+(ms|s)\$" "$scratch/out"
}
check "clients: the last error" last_error
kill "$player"
finish "$player"
play offend "$name"
offender=${said[client]}
evicted() {
	rows clients "select(.id == $offender) | .state == \"evicted\" and (.error | test(\"unknown kind\"))"
}
check "clients: why one was evicted" evicted
kill "$player"
finish "$player"

latency() {
	tarn 0 -s "$name" stat --latency --json
	json '.latency[] | select(.client == null and .kind == "alloc") | .waits > 0 and .messages >= .waits and
		.p50_ns >= 256 and .p50_ns <= .p90_ns and .p90_ns <= .p99_ns and .p99_ns <= .p999_ns and
		.p999_ns <= .max_ns'
	json '.latency[] | select(.client == null and .kind == "send") | .messages == 1 and .p50_ns == null'
	json '.latency[] | select(.client != null and .kind == "seal") | .messages == 1'
	tarn 0 -s "$name" stat --latency
	grep -qE '^CLIENT +KIND +MESSAGES +WAITS +P50 +P90 +P99 +P99\.9 +MAX$' "$scratch/out"
	grep -qE '^ *- +alloc +[0-9]+ +[0-9]+ +[0-9.]+(ns|us|ms|s) ' "$scratch/out"
}
classes() {
	tarn 0 -s "$name" stat --classes --json
	json '[.classes[] | select(.slot_bytes == 1024)][0] | .spans == 1 and .slots > .used and .used >= .live and
		.live >= 1 and .live_bytes >= 1000 and .used_bytes >= .live_bytes and .span_bytes >= .used_bytes and
		.waste_percent > 0 and .waste_percent < 100'
	# What the classes use is what the arena uses.
	same "$(json '[.classes[].used_bytes] | add')" "$(json .memory.used_bytes)"
	tarn 0 -s "$name" stat --classes
	grep -qE '^SLOT +SPANS +BYTES +SLOTS +USED +LIVE +CAPACITY +SIZE +WASTE%$' "$scratch/out" ||
		grep -qE 'SLOT +SPANS +BYTES' "$scratch/out"
}
limits() {
	tarn 0 -s "$name" stat --json
	json '.clients.clients_limit == 4095 and .activity.undo_high_limit == 8192 and
		.memory.largest_free_bytes <= .memory.arena_bytes'
}
check "stat --latency" latency
check "stat --classes" classes
check "stat tells limits" limits

# ---- dumps ----

answers() { # answers DIR ARGUMENT...: what all commands say in JSON, without what time changes
	local command dir=$1
	mkdir -p "$dir"
	for command in clients blocks refs check; do
		tarn 0 "${@:2}" "$command" --json
		jq 'del(.source, .clients?[]?.up_ns, .clients?[]?.error_ago_ns, .blocks?[]?.age_ns, .refs?[]?.age_ns)' \
			"$scratch/out" >"$dir/$command"
	done
	tarn 0 "${@:2}" stat --json --classes --latency
	jq 'del(.source, .server.uptime_ns, .activity, .memory.resident_data_bytes, .memory.resident_meta_bytes,
		.memory.contents_bytes, .memory.contents_limit_bytes, .memory.contents_committed_bytes)' \
		"$scratch/out" >"$dir/stat"
}
from() { # as answers, of a dump
	local command dir=$1 file=$2
	mkdir -p "$dir"
	for command in clients blocks refs check; do
		tarn 0 "$command" --from "$file" --json
		same "$(json .source)" dump
		jq 'del(.source, .clients?[]?.up_ns, .clients?[]?.error_ago_ns, .blocks?[]?.age_ns, .refs?[]?.age_ns)' \
			"$scratch/out" >"$dir/$command"
	done
	tarn 0 stat --from "$file" --json --classes --latency
	jq 'del(.source, .server.uptime_ns, .activity, .memory.resident_data_bytes, .memory.resident_meta_bytes,
		.memory.contents_bytes, .memory.contents_limit_bytes, .memory.contents_committed_bytes)' \
		"$scratch/out" >"$dir/stat"
}
dump_answers_as_the_server() {
	tarn 0 -s "$name" dump "$scratch/d"
	silent out
	silent err
	same "$(stat -c %a "$scratch/d")" 600
	answers "$scratch/live" -s "$name"
	from "$scratch/dead" "$scratch/d"
	diff -r "$scratch/live" "$scratch/dead"
}
dump_to_stdout() {
	"$tools/tarn" -s "$name" dump - >"$scratch/d2"
	tarn 0 check --from "$scratch/d2"
	"$tools/tarn" -s "$name" dump /dev/stdout | cat >"$scratch/d2"
	tarn 0 check --from "$scratch/d2"
	"$tools/tarn" -s "$name" dump - | "$tools/tarn" check --from /dev/stdin
}
dump_of_a_dump() {
	tarn 0 dump "$scratch/d3" --from "$scratch/d"
	from "$scratch/again" "$scratch/d3"
	diff -r "$scratch/dead" "$scratch/again"
}
dump_fails() { # dump_fails TEXT FILE
	tarn 2 -s "$name" dump "$2"
	one_line "$1"
	same "$(find "$scratch" -name '*.part-*')" ""
}
text_from_a_dump() {
	tarn 0 refs --from "$scratch/d" "$held"
	grep -qE "^$held +held +1 " "$scratch/out"
	tarn 1 refs --from "$scratch/d" 77:77
	one_line "77:77"
}
check "a dump answers as the server" dump_answers_as_the_server
check "a dump to stdout" dump_to_stdout
check "a dump of a dump" dump_of_a_dump
check "a dump as text" text_from_a_dump
check "a dump that cannot be written" dump_fails "/nosuch" "$scratch/nosuch/file"
check "a dump into a full file system" dump_fails "Writing the dump" /dev/full

is_no_dump() { # is_no_dump FILE: every command says so
	local command
	for command in "${asking[@]}"; do
		tarn 2 "$command" --from "$1"
		silent out
		one_line "$1"
	done
	tarn 2 dump "$scratch/d4" --from "$1"
	[ ! -e "$scratch/d4" ]
}
: >"$scratch/empty"
head -c 100 "$scratch/d" >"$scratch/short"
head -c 9000 "$scratch/d" >"$scratch/cut"
{ cat "$scratch/d" && echo more; } >"$scratch/long"
head -c 20000 /dev/urandom >"$scratch/noise"
flipped() { # flipped AT: one byte of the dump is another
	cp "$scratch/d" "$scratch/flip-$1"
	printf '\x5a' | dd of="$scratch/flip-$1" bs=1 seek="$1" conv=notrunc status=none
	is_no_dump "$scratch/flip-$1"
}
for file in empty short cut long noise; do
	check "$file is no dump" is_no_dump "$scratch/$file"
done
check "a device is no dump" is_no_dump /dev/null
check "an endless device is no dump" is_no_dump /dev/zero
check "a directory is no dump" is_no_dump "$scratch"
for at in 0 9 17 30 41 50 60 90 130 140 5000 12000; do
	check "a byte changed at $at" flipped $at
done

# ---- a server that does not answer ----

kill -STOP "$main"
hung_line() { # what stderr says
	one_line "server '$name' does not answer: process $main is stopped at epoch "
	one_line "they are sound"
}
hung_answers() {
	local command dir=$scratch/hung
	mkdir -p "$dir"
	for command in clients blocks refs check; do
		tarn 0 -s "$name" --timeout 200ms "$command" --json
		same "$(json .source)" copy
		sed -i '/no findings/d' "$scratch/err"
		hung_line
		jq 'del(.source, .clients?[]?.up_ns, .clients?[]?.error_ago_ns, .blocks?[]?.age_ns, .refs?[]?.age_ns)' \
			"$scratch/out" >"$dir/$command"
		diff "$scratch/live/$command" "$dir/$command"
	done
	tarn 0 -s "$name" --timeout 200ms stat --json --classes --latency
	hung_line
	same "$(json .source)" copy
	jq 'del(.source, .server.uptime_ns, .activity, .memory.resident_data_bytes, .memory.resident_meta_bytes,
		.memory.contents_bytes, .memory.contents_limit_bytes, .memory.contents_committed_bytes)' \
		"$scratch/out" >"$dir/stat"
	diff "$scratch/live/stat" "$dir/stat"
	json '.server.uptime_ns > 0 and .activity.messages > 0 and .server.io_reason != ""'
}
hung_text() {
	tarn 0 "$1" -s "$name" --timeout 0
	sed -i '/no findings/d' "$scratch/err"
	hung_line
}
hung_dump() {
	tarn 0 -s "$name" --timeout 200ms dump "$scratch/hung.dump"
	hung_line
	from "$scratch/hung-dump" "$scratch/hung.dump"
	diff -r "$scratch/live" "$scratch/hung-dump"
}
check "all commands of a stopped server tell what it told before" hung_answers
for command in "${asking[@]}"; do
	check "$command of a stopped server, text" hung_text "$command"
done
check "a dump of a stopped server" hung_dump
check "ls: a stopped server" ls_row "$name" \
	".pid == $main and .state == \"hung\" and .note == \"stopped\" and .clients == 1 and .blocks == 4"
damage() {
	"$client" damage "$main" "$held_index"
	tarn 1 -s "$name" --timeout 200ms check
	grep -qE "^object $held_index: count " "$scratch/out"
	grep -q "check finds [0-9]* faults in them" "$scratch/err"
}
undo_damage() { # the same once more does not help: it is a count that is too large
	tarn 1 check --from "$scratch/hung2.dump"
	grep -qE "^object $held_index: count " "$scratch/out"
}
check "check of a stopped server finds what is wrong" damage
"$tools/tarn" -s "$name" --timeout 200ms dump "$scratch/hung2.dump" 2>/dev/null
check "and so does check of its dump" undo_damage

if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	try_serve "@$name-mine" --size 1M
	mine=$server
	kill -STOP "$mine"
	foreign() {
		run 2 setpriv --reuid 65534 --regid 65534 --clear-groups "$tools/tarn" -s "@$name-mine" \
			--timeout 200ms stat
		silent out
		one_line "does not answer, and "
	}
	# The program must be within the other user's reach.
	if setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$tools/tarn"; then
		check "whoever may not trace a hung server is told so" foreign
	else
		skip "whoever may not trace a hung server is told so" "the build is out of others' reach"
	fi
	kill -CONT "$mine"
	kill "$mine"
	finish "$mine"
else
	skip "whoever may not trace a hung server is told so" "not root"
fi
kill -CONT "$main"
end_now "$holder"
end_now "$main"
no_such() {
	tarn 2 -s "$name" --timeout 200ms stat
	one_line "$name"
}
check "a server that is gone is gone" no_such

# ---- watch ----

serve "$name" --size 16M --spin-us 0
play hold "$name"
holder=$player
documents() { [ "$(jq -c .schema "$scratch/watched" 2>/dev/null | wc -l)" -ge "$1" ]; }
"$tools/tarn" -s "$name" stat --watch=20ms --json >"$scratch/watched" 2>&1 &
watcher=$!
started[watcher]=1
wait_for documents 3
end_now "$watcher"
check "--watch --json prints document after document" documents 3
tables() { [ "$(grep -c '^GROUP .*RATE' "$scratch/watched")" -ge "$1" ] && grep -qE '^activity +epochs +[0-9]+ +- +- +[0-9]+\.[0-9] ' "$scratch/watched"; }
"$tools/tarn" -s "$name" stat --watch=20ms >"$scratch/watched" 2>&1 &
watcher=$!
started[watcher]=1
wait_for tables 2
end_now "$watcher"
check "stat --watch shows rates" tables 2

# ---- top ----

refused() { # refused TEXT ARGUMENT...: one line that has TEXT, exit 2
	tarn 2 "${@:2}"
	silent out
	one_line "$1"
}
top_looks() { # two looks: the second one has rates
	tarn 0 -s "$name" top --batch --count 2 --delay 50ms
	same "$(grep -c "^tarn top: $name, server $server, " "$scratch/out")" 2
	grep -qE '^Activity: - messages/s' "$scratch/out"
	grep -qE '^Activity: [0-9]+ messages/s' "$scratch/out"
	grep -qE ' test-cli-client +active ' "$scratch/out"
}
check "top prints looks" top_looks
top_json() {
	tarn 0 -s "$name" top --json --count 2 --delay 50ms
	same "$(jq -c .schema "$scratch/out" | sort | uniq -c | tr -s ' ')" ' 2 "tarn.top/1"'
	same "$(jq -sc '.[1].clients | map(.name) | unique' "$scratch/out")" '["tarnd","test-cli-client"]'
	jq -se '.[0].totals.messages_per_s == null and .[1].totals.messages_per_s >= 0 and
		(.[1].clients | all(.held >= 0 and .messages_per_s >= 0))' "$scratch/out" >"$scratch/true"
}
check "top prints JSON" top_json
top_sorts() {
	tarn 0 -s "$name" top --json --count 1 --sort id
	json '[.clients[].id] | . == sort'
}
check "top sorts" top_sorts
check "top wants a terminal" refused "not a terminal; --batch" -s "$name" top
check "top, a delay of nothing" refused "--delay: 0" -s "$name" top --batch --delay 0
if command -v script >/dev/null; then
	top_screen() {
		(sleep 0.5; printf s; sleep 0.3; printf q) |
			TERM=xterm timeout 30 script -qec "stty rows 20 cols 100; $tools/tarn -s $name top -d 100ms" \
				"$scratch/typescript" >/dev/null 2>&1
		grep -q "tarn top: $name" "$scratch/typescript"
	}
	check "top on a terminal ends with q" top_screen
else
	skip "top on a terminal ends with q" "no script(1)"
fi

"$tools/tarn" -s "$name" clients --watch=20ms >"$scratch/watched" 2>"$scratch/watch-err" &
watcher=$!
started[watcher]=1
wait_for grep -q test-cli "$scratch/watched"
end_now "$server"
finish "$watcher"
check "--watch ends with the server" same "$ended" 2
end_now "$holder"
serve "$name" --size 16M

# ---- colours ----

if command -v script >/dev/null; then
	on_a_terminal() { # on_a_terminal COMMAND...: its output is in typescript
		script -qec "$*" "$scratch/typescript" >/dev/null 2>&1 </dev/null
	}
	coloured() {
		TERM=xterm NO_COLOR='' on_a_terminal "$tools/tarn -s $name stat"
		grep -q $'\033\[1mGROUP' "$scratch/typescript"
		TERM=xterm on_a_terminal "$tools/tarn doctor"
		grep -q $'\033\[32mok' "$scratch/typescript"
	}
	plain() { # plain VARIABLE=VALUE
		TERM=xterm on_a_terminal "env $1 $tools/tarn -s $name stat"
		grep -q GROUP "$scratch/typescript"
		! grep -q $'\033' "$scratch/typescript"
	}
	not_cleared() { # where a terminal cannot be cleared, one look is below the other
		TERM=dumb on_a_terminal "$tools/tarn -s $name top --count 2 --delay 20ms"
		same "$(grep -c "^tarn top: $name, " "$scratch/typescript")" 2
		! grep -q $'\033' "$scratch/typescript"
	}
	check "top on a dumb terminal prints lines" not_cleared
	check "colours on a terminal" coloured
	check "no colours with NO_COLOR" plain NO_COLOR=1
	check "no colours on a dumb terminal" plain TERM=dumb
else
	skip "colours" "no script(1)"
fi
no_colours() {
	TERM=xterm tarn 0 -s "$name" stat
	! grep -q $'\033' "$scratch/out"
}
check "no colours in a file" no_colours

# ---- one that runs and does not answer ----

# An idle server that is given no time at all: its books stand still, and that is seen by
# looking twice. It may be fast enough to answer, and then there is no line.
stands_still() {
	tarn 0 -s "$name" --timeout 0 check --json
	json '.count == 0'
	grep -q "server '$name' does not answer: process $server stands still at epoch .* they are sound" \
		"$scratch/err" && json '.source == "copy"'
}
check "books that stand still are copied" wait_for stands_still

# ---- doctor ----

doctor() {
	run 0 "$tools/tarn" doctor --json
	silent err
	same "$(json .schema)" tarn.doctor/1
	json '[.checks[].state] | all(. == "ok" or . == "warn")'
	for word in kernel io_uring memlock dev-shm memfd cgroup huge-pages cores membarrier pages preadv2 pidfd peer-pidfd; do
		json ".checks[] | select(.check == \"$word\") | .found | length > 0"
	done
	run 0 "$tools/tarn" doctor
	grep -qE '^CHECK +STATE +FOUND +CHANGE$' "$scratch/out"
	grep -qE '^kernel +(ok|warn) +Linux ' "$scratch/out"
}
doctor_agrees_with_the_server() {
	local io
	io=$("$tools/tarn" -s "$name" stat --json | jq -r .server.io)
	run 0 "$tools/tarn" doctor --json
	same "$(json '.checks[] | select(.check == "io_uring") | if .found == "allowed" then "io_uring" else "epoll" end')" "$io"
}
doctor_in_a_container() {
	run 0 "$client" confine "$tools/tarn" doctor --json
	json '.checks[] | select(.check == "io_uring") | .state == "warn" and (.found | test("seccomp|io_uring_disabled")) and
		(.change | length > 0)'
}
doctor_checks_are_in_the_page() {
	local word
	for word in $("$tools/tarn" doctor --noheadings -o check); do
		grep -qE "^\*$word\*|, \*$word\*" "$top/docs/man/tarn-doctor.1.scd" || {
			echo "$word is not in the page"
			return 1
		}
	done
}
doctor_finds_a_bad_directory() {
	XDG_RUNTIME_DIR=$scratch/nosuch run 1 "$tools/tarn" doctor --json
	json '.checks[] | select(.check == "runtime-dir") | .state == "bad"'
}
check "doctor" doctor
check "doctor and server agree on io_uring" doctor_agrees_with_the_server
check "doctor tells that seccomp refuses io_uring" doctor_in_a_container
check "checks of doctor are in its page" doctor_checks_are_in_the_page
check "doctor exits with 1 when something is bad" doctor_finds_a_bad_directory

# ---- gc ----

gc() { # gc FILTER ARGUMENT...: of the rows about $name-left
	tarn 0 gc --json "${@:2}"
	same "$(json .schema)" tarn.gc/1
	jq -e "[.leftovers[] | select(.path | contains(\"$name-left\"))] | $1" "$scratch/out"
}
last=$server
try_serve "$name-left" --size 1M
check "gc leaves a living server alone" gc '. == []'
check "gc --all lists it" gc 'length == 1 and .[0].state == "living" and .[0].kind == "socket"' --all
end_now "$server"
check "gc --dry-run says what would go" gc 'length == 1 and .[0].state == "dead"' --dry-run
left_socket() { [ -S "$scratch/tarn/$name-left.sock" ]; }
check "and removes nothing" left_socket
gc_text() {
	tarn 0 gc
	grep -qE '^PATH +KIND +STATE +BYTES +PID +UID$' "$scratch/out"
	grep -qE "^$scratch/tarn/$name-left.sock +socket +dead " "$scratch/out"
	one_line " removed"
	[ ! -e "$scratch/tarn/$name-left.sock" ]
}
check "gc removes it and says so" gc_text
check "gc finds nothing more" gc '. == []'
server=$last

# ---- completion ----

completes() { # completes "WANTED..." WORD...: bash's words for the last one
	# shellcheck disable=SC1090
	same "$(PATH=$tools:$PATH; . <("$tools/tarn" completion bash)
		COMP_WORDS=("${@:2}")
		COMP_CWORD=$(($# - 2))
		if [ "$2" = tarn ]; then _tarn; else _tarnd; fi
		echo "${COMPREPLY[*]}")" "$1"
}
check "bash completes commands" completes "stat" tarn st
check "bash completes commands after options" completes "blocks" tarn -s demo bl
check "bash completes options" completes "--json" tarn stat --js
check "bash completes options of a command" completes "--leaks" tarn refs --l
check "bash does not complete others' options" completes "" tarn doctor --serv
check "bash completes servers" completes "$name" tarn stat -s "${name::6}"
check "bash completes columns" completes "ID,SIZE" tarn blocks -o ID,SI
check "bash completes shells" completes "zsh" tarn completion z
check "bash completes choices" completes "memfd" tarnd --backing m
check "bash completes options of serve" completes "--backing" tarn serve --bac
files() { completes "$scratch/long" tarn stat --from "$scratch/lon"; }
check "bash completes files" files
check "bash completion is well formed" bash -n <("$tools/tarn" completion bash)
for shell in zsh fish; do
	"$tools/tarn" completion $shell >"$scratch/completion.$shell"
	if command -v $shell >/dev/null; then
		check "$shell completion is well formed" $shell -n "$scratch/completion.$shell"
	else
		skip "$shell completion is well formed" "no $shell"
	fi
done
all_options_are_completed() { # all_options_are_completed SHELL: each command's and each option
	local command option
	"$tools/tarn" completion "$1" >"$scratch/completion"
	for command in $("$tools/tarn" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\).*/\1/p'); do
		grep -qw -- "$command" "$scratch/completion"
		for option in $("$tools/tarn" "$command" --help | grep -oE '^  (-., |    )--[a-z-]+' | sed 's/.*--//'); do
			grep -qE -- "(--|-l )$option([^a-z]|\$)" "$scratch/completion" || {
				echo "no --$option"
				return 1
			}
		done
	done
}
for shell in bash zsh fish; do
	check "$shell completion has all options" all_options_are_completed $shell
done
check "an unknown shell" run 2 "$tools/tarn" completion tcsh

# ---- the schema ----

schema_is_documented() { # every member of every answer is in docs/json-schema.md, in its section
	local command
	play hold "$name"
	for command in "stat --classes --latency" clients "blocks --all" "refs --leaks 0" check ls doctor "gc --all" \
		"top --count 1"; do
		read -ra words <<<"$command"
		local args=(-s "$name")
		[[ ${words[0]} != ls && ${words[0]} != doctor && ${words[0]} != gc ]] || args=()
		"$tools/tarn" "${words[0]}" "${args[@]}" "${words[@]:1}" --json >"$scratch/out" 2>/dev/null || true
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
	kill "$player"
	wait "$player"
}
awk '/^## /{on = index($0, "All") > 0} on' "$top/docs/json-schema.md" >"$scratch/common" || true
check "all members of JSON are documented" schema_is_documented

# ---- the end ----

end_server
left() {
	comm -13 "$scratch/lost-before" <(lost_names | sort) >"$scratch/lost"
	silent lost
	[ -z "$(find "$scratch/tarn" -name '*.sock')" ]
}
check "nothing is left" left
end_tests
