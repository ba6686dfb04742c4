#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tarnd and tarn as people and scripts use them: every option, every column, every exit
# status, and that help texts and man pages say the same.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ $# -ne 1 ] || [ "$1" = --help ]; then
	echo "Usage: test-cli.sh TEST-CLI-CLIENT"
	echo "Prints TAP: whether tarnd and tarn of \$TARN_BUILD_DIR do what their pages say."
	[ $# -eq 1 ]
	exit
fi
# shellcheck source=tests/e2e/lib-cli.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib-cli.sh"

# ---- usage ----

asking=(stat clients blocks refs types objects trace leaks check) # a server or a dump

help_goes_to_stdout() { # help_goes_to_stdout PROGRAM ARGUMENT...
	run 0 "$tools/$1" "${@:2}"
	silent err
	grep -q "^Usage: $1 " "$scratch/out"
}
version_goes_to_stdout() {
	run 0 "$tools/$1" "$2"
	silent err
	grep -qE "^$1 [0-9]+\.[0-9]+\.[0-9]+\$" "$scratch/out"
}
refused() { # refused TEXT PROGRAM ARGUMENT...: one line that has TEXT, exit 2
	run 2 timeout 60 "$tools/$2" "${@:3}"
	silent out
	one_line "$1"
}

check "tarn --help" help_goes_to_stdout tarn --help
check "tarn -h" help_goes_to_stdout tarn -h
check "tarnd --help" help_goes_to_stdout tarnd --help
check "tarn --version" version_goes_to_stdout tarn --version
check "tarn -V" version_goes_to_stdout tarn -V
check "tarnd --version" version_goes_to_stdout tarnd --version
mapfile -t commands < <("$tools/tarn" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\).*/\1/p')
arguments() { # arguments COMMAND: as many as it needs, one a line
	case $1 in
	dump) echo "$scratch/none" ;;
	introspect | show) echo 5:3 ;;
	call) printf '%s\n' 5:3 method ;;
	completion) echo bash ;;
	esac
}
for command in "${commands[@]}"; do
	mapfile -t args < <(arguments "$command")
	check "tarn $command --help" help_goes_to_stdout tarn "$command" --help
	check "tarn $command -h" help_goes_to_stdout tarn "$command" -h
	check "tarn $command, unknown option" refused "'--nosuch'" tarn "$command" "${args[@]}" --nosuch
	check "tarn $command, unknown letter" refused "'-Z'" tarn "$command" "${args[@]}" -Z
	[ "$command" = bench ] || [ "$command" = call ] || # which take any number
		check "tarn $command, one argument too many" refused "unexpected argument" tarn \
			"$command" "${args[@]}" 5:3 more
	[ ${#args[@]} -eq 0 ] ||
		check "tarn $command without its argument" refused "is missing" tarn "$command"
done

# Every option of every command, as the help lists them: a value that is none, no value, a value
# that is not wanted. NAME and LIST take any text, so their wrong values are special.
wrong_value() { # wrong_value OPTION VALUE-NAME: a value that cannot be right, or nothing
	case $1=$2 in
	--server=* | --name=* | --process-name=*) echo "" ;;
	--columns=*) echo nosuch ;;
	--from=*) echo "$scratch/none" ;;
	--ready-fd=*) echo 99 ;;
	--plot=*) echo /nonexistent/x.svg ;;
	*) echo "x?" ;;
	esac
}
try_options() { # try_options PROGRAM [COMMAND [ARGUMENT...]]
	local option value sign wrong
	while IFS='|' read -r option sign value; do
		case $sign in
		"")
			check "$1 ${2:-} $option takes no value" refused "'$option' takes no value" \
				"$@" "$option=1"
			;;
		" ")
			check "$1 ${2:-} $option needs a value" refused "'$option' needs a value" \
				"$@" "$option"
			wrong=$(wrong_value "$option" "$value")
			# Benchmarks judge their own, if they are built.
			[ "${2:-}" != bench ] || [ -x "${TARN_BUILD_DIR:-build}/bench/bench-run" ] || continue
			check "$1 ${2:-} $option '$wrong' is wrong" refused "$wrong" "$@" "$option" "$wrong"
			;;
		"[=")
			check "$1 ${2:-} $option=x? is wrong" refused "$option: 'x?'" "$@" "$option=x?"
			check "$1 ${2:-} $option=0 is wrong" refused "$option: 0" "$@" "$option=0"
			;;
		esac
	done < <("$tools/$1" ${2:+"$2"} --help |
		sed -nE -e 's/^  (-., |    )(--[a-z-]+)(\[?[ =])([A-Z_]+)[] ].*/\2|\3|\4/p;t' \
			-e 's/^  (-., |    )(--[a-z-]+) .*/\2||/p' | grep -vE '^--(help|version)\|')
}
for command in "${commands[@]}"; do
	mapfile -t args < <(arguments "$command")
	try_options tarn "$command" "${args[@]}"
done
try_options tarnd
for command in "${asking[@]}" errors ping ls gc doctor; do
	check "tarn $command, unknown column" refused "'nosuch'" tarn "$command" -o nosuch
done
check "tarn without a command" refused "no command" tarn
check "tarn with an unknown command" refused "'nosuch'" tarn nosuch
check "unknown long option" refused "'--nosuch'" tarn --nosuch stat
check "unknown letter" refused "'-q'" tarn -q stat
check "unknown letter among others" refused "'-q'" tarn blocks -aq
check "option without its value" refused "'--server'" tarn --server
check "letter without its value" refused "'-o'" tarn blocks -o
check "flag with a value" refused "'--json' takes no value" tarn stat --json=yes
check "time that is none" refused "--timeout: '2x'" tarn --timeout 2x stat
for wrong in 1. .5 1.5.5 1.x 1.5d; do
	check "time '$wrong' is none" refused "--timeout: '$wrong'" tarn --timeout "$wrong" stat
done
check "time with a sign" refused "--timeout: '-1'" tarn stat --timeout -1
check "time that is too long" refused "--timeout" tarn stat --timeout 99999999999999999999
check "column named twice" refused "twice" tarn blocks -o id,size,id
check "empty column" refused "no column ''" tarn blocks -o id,
check "columns of stat in JSON" refused "--columns" tarn stat --json -o value
for id in 5 5: :3 5:0 0x 0x0 x 5:3x " 5:3" -5:3 268435456:1 1:68719476736 0x10000000000000000; do
	check "id '$id' is none" refused "ID: '$id'" tarn refs -- "$id"
done
check "tarnd, unknown option" refused "'--nosuch'" tarnd --nosuch
check "tarnd, argument" refused "'demo'" tarnd demo
for size in 1x 1KB -1 "" 1.5G K 99999999999999999999 99999999T 0x10 " 1"; do
	check "size '$size' is none" refused "--size: '$size'" tarnd --size "$size"
done
check "size 0" refused "--size" tarnd --size 0
check "max-blocks 0" refused "--max-blocks" tarnd --max-blocks 0
check "quota that is none" refused "--quota: 'x'" tarnd --quota x
check "watermark that is none" refused "--watermark: 'x'" tarnd --watermark x
check "unknown backing" refused "--backing: 'disk' is none of auto, posix, memfd" tarnd --backing disk
check "unknown io" refused "--io: 'poll'" tarnd --io poll
check "spin-us that is none" refused "--spin-us: '1s'" tarnd --spin-us 1s
check "spin-us that is too long" refused "--spin-us" tarnd --spin-us 1000001
check "unknown log level" refused "--log-level: 'loud'" tarnd --log-level loud
check "ready-fd that is not open" refused "--ready-fd: 9" tarnd --ready-fd 9
check "ready-fd 0" refused "--ready-fd" tarnd --ready-fd 0
check "ready-fd 2" refused "--ready-fd: 2" tarnd --ready-fd 2

# ---- pages ----

help_options() { # help_options PROGRAM ARGUMENT...
	"$tools/$1" "${@:2}" --help | sed -nE 's/^  (-., |    )(--[a-z-]+).*/\2/p' | sort
}
section() { # section PAGE HEADING: the text below it, to the next heading of its level
	awk -v want="$2" '
		/^#+ / { level = length($1); title = substr($0, level + 2); sub(/ \[.*/, "", title)
			 if (title == want) { on = level; next } else if (level <= on) on = 0 }
		on' "$1"
}
page_options() { # page_options PAGE HEADING
	section "$pages/$1" "$2" | grep -oP '^\*-.*' | grep -oP '\*\K--[a-z-]+(?=\*)' | sort
}
same_options() { # same_options PAGE HEADING PROGRAM ARGUMENT...
	diff <(page_options "$1" "$2") <(help_options "${@:3}")
}
page_of() { # page_of COMMAND: the page with its section
	(cd "$pages" && grep -lE "^## $1( |\$)" tarn*.1.scd)
}
common_options() { # common_options COMMAND: those that the page says it takes
	section "$pages/tarn.1.scd" "OPTIONS OF COMMANDS" | awk -v want="$1" '
		/^\*-/ { match($0, /\*--[a-z]+/); option = substr($0, RSTART + 1, RLENGTH - 1) }
		/^\tCommands: / { gsub(/[,.]/, ""); for (i = 2; i <= NF; i++) if ($i == want) print option }'
}
command_heading() { # command_heading COMMAND: of its section, arguments included
	sed -nE "s/^## ($1( [A-Z]+)?)( \\[.*)?\$/\\1/p" "$pages/$(page_of "$1")"
}
command_options() {
	if [ "$1" = serve ]; then
		diff <(page_options tarnd.8.scd OPTIONS | grep -vx -e --version) <(help_options tarn serve)
		return
	fi
	diff <(sort <(common_options "$1") \
		<(page_options "$(page_of "$1")" "$(command_heading "$1")" || true)) \
		<(help_options tarn "$1")
}
command_columns() { # those of the help are in the page, with the same mark, in the same order
	diff <(section "$pages/$(page_of "$1")" "$(command_heading "$1")" | sed '/^The .* are:/,$d' |
		grep -oP '^\*[A-Z0-9%.]+[*%,].*' | sed -E 's/ \\\*$/+/; s/\*//g; s/, /\n/' | tr + '*') \
		<("$tools/tarn" "$1" --help | sed '1,/^Columns/d' | tr -s ' ' '\n' | sed '/^$/d; s/ \*/*/')
}
page_commands() {
	diff <(sed -n 's/^## //p' "$pages"/tarn.1.scd "$pages"/tarn-*.1.scd | sort) \
		<("$tools/tarn" --help | sed -n '/^Commands:/,/^$/s/^  \(.*[^ ]\)  .*/\1/p' |
			sed 's/ *$//' | sort)
}
mentioned_options() { # whatever option a page speaks of, some program has
	local command
	comm -23 <(grep -ohP '\*\K--[a-z-]+' "$pages"/*.scd | sort -u) <(
		{
			help_options tarnd
			help_options tarn
			for command in "${commands[@]}"; do
				help_options tarn "$command"
			done
		} | sort -u
	) >"$scratch/out"
	silent out
}
reads_dumps() { # those that the page says read a dump take --from
	local command
	diff <(tr '\n' ' ' <"$pages/tarn-dump.1.scd" | grep -oP 'The commands \K.*(?= read a dump)' |
		grep -oP '\*\K[a-z]+(?=\*)' | sort) <(
		for command in "${commands[@]}"; do
			help_options tarn "$command" | grep -qx -e --from && echo "$command"
		done | sort
	)
}
is_a_page() {
	scdoc <"$1" >"$scratch/page"
	if command -v man >/dev/null; then
		[ -z "$(MANROFFSEQ='' man --warnings -E UTF-8 -l "$scratch/page" 2>&1 >/dev/null)" ]
	fi
}
check "options of tarn are in its page" same_options tarn.1.scd OPTIONS tarn
check "options of tarnd are in its page" same_options tarnd.8.scd OPTIONS tarnd
check "commands are in the page" page_commands
check "options that pages mention are there" mentioned_options
check "commands that read a dump are in its page" reads_dumps
for command in "${commands[@]}"; do
	check "options of $command are in the page" command_options "$command"
	check "columns of $command are in the page" command_columns "$command"
done
for page in tarn.1 tarn-bench.1 tarn-doctor.1 tarn-dump.1 tarn-objects.1 tarnd.8; do
	if command -v scdoc >/dev/null; then
		check "$page is a man page" is_a_page "$pages/$page.scd"
	else
		skip "$page is a man page" "no scdoc"
	fi
done

# ---- an empty server ----

no_server() {
	tarn 2 -s nosuch "$1"
	silent out
	one_line nosuch
}
for command in "${asking[@]}"; do
	check "$command without a server" no_server "$command"
done

serve "$name" --size 64M --io epoll --quota 32M --watermark 3M --max-blocks 10K --spin-us 0

log_tells_that_it_serves() {
	wait_for grep -q "^<6>tarnd: serving $name: 64 MiB, epoll" "$scratch/log"
}
stat_tells_options() {
	tarn 0 -s "$name" stat --json
	silent err
	same "$(json .schema)" tarn.stat/1
	same "$(json .server.name)" "$name"
	same "$(json .server.pid)" "$server"
	same "$(json .server.process)" "$(cat "/proc/$server/comm")"
	same "$(json .server.io)" epoll
	json '[.server.io_reason, .server.backing_reason | length > 0] | all'
	same "$(json .memory.arena_bytes)" $((64 << 20))
	same "$(json .memory.watermark_bytes)" $((3 << 20))
	same "$(json .objects.max_blocks)" 10240
	same "$(json .objects.indices_used)" 0
	json '.server.uptime_ns > 0'
}
stat_is_a_table() {
	tarn 0 stat -s "$name"
	silent err
	grep -qE '^GROUP +COUNTER +VALUE +LIMIT +USE% +NOTE$' "$scratch/out"
	grep -qE '^memory +used +0B +64\.0M +0\.0 +-$' "$scratch/out"
	grep -qE '^server +io +epoll +- +- +.{3,}$' "$scratch/out"
}
stat_names_are_those_of_json() { # but for their units
	diff <("$tools/tarn" -s "$name" stat --noheadings -o group,counter | tr -s ' ' .) \
		<("$tools/tarn" -s "$name" stat --json |
			jq -r 'paths(scalars) | join(".")' | grep -vE '^schema|^source|_reason$|_limit(_bytes)?$' |
			sed -E 's/_(bytes|ns)$//')
}
stat_counters_are_in_the_page() {
	local word
	section "$pages/tarn.1.scd" stat | sed '1,/^The counters/d' >"$scratch/page"
	for word in $("$tools/tarn" -s "$name" stat --noheadings -o counter); do
		grep -qF "*$word*" "$scratch/page" || {
			echo "$word is not in the page"
			return 1
		}
	done
}
stat_in_bytes() {
	tarn 0 stat -s "$name" --bytes --noheadings -o counter,value
	grep -qE "^arena +$((64 << 20))\$" "$scratch/out"
}
empty_table() { # empty_table COMMAND: headings, no rows
	tarn 0 -s "$name" "$1"
	silent err
	same "$(grep -c . "$scratch/out")" "$2"
	tarn 0 -s "$name" "$1" --noheadings
	silent out
}
schema() {
	tarn 0 -s "$name" "$1" --json
	silent err
	same "$(json .schema)" "tarn.$1/1"
	same "$(json .source)" server
	same "$(json .server.name)" "$name"
}
clean() { # no findings
	tarn 0 -s "$name" check
	silent out
	one_line "no findings"
	tarn 0 -s "$name" check --json
	same "$(json .count)" 0
	json '.findings == []'
}
check "the log tells that it serves" log_tells_that_it_serves
check "stat tells the options" stat_tells_options
check "stat is a table" stat_is_a_table
check "names in stat are those of its JSON" stat_names_are_those_of_json
check "counters of stat are in the page" stat_counters_are_in_the_page
check "stat --bytes -o --noheadings" stat_in_bytes
only_itself() { # the server is a client of its own, for its methods
	tarn 0 -s "$name" clients --json
	same "$(json '[.clients[].pid] | join(" ")')" "$server"
}
check "clients of an empty server" only_itself
check "blocks of an empty server" empty_table blocks 2
check "refs of an empty server" empty_table refs 1
check "check of an empty server" clean
for command in "${asking[@]}"; do
	check "schema of $command" schema "$command"
done

unknown_id() {
	tarn 1 -s "$name" refs "$1"
	silent out
	one_line "$1"
}
name_from_environment() {
	TARN_SERVER=$name tarn 0 stat --json
	same "$(json .server.name)" "$name"
	TARN_SERVER=nosuch tarn 0 -s "$name" stat
	TARN_SERVER='' tarn 2 stat
	one_line "'default'"
}
full_disk() {
	local status=0
	"$tools/tarn" -s "$name" stat >/dev/full 2>"$scratch/err" || status=$?
	same "$status" 2
	one_line "cannot write"
}
fractions_of_times() { # waited for as long as they say: not at all, or long enough
	tarn 0 -s "$name" --timeout 59.5 stat
	tarn 0 -s "$name" --timeout 0.5m stat
	tarn 0 -s "$name" top --batch --count 2 --delay 0.05
	same "$(grep -c '^tarn top: ' "$scratch/out")" 2
}
name_is_taken() {
	run 1 "$tools/tarnd" --name "$name"
	silent out
	one_line "$name"
	grep -q '^<3>tarnd: ' "$scratch/err"
}
check "refs of an id that is not there" unknown_id 5:3
check "refs of a hexadecimal id that is not there" unknown_id 0x30000005
check "\$TARN_SERVER" name_from_environment
check "output that cannot be written" full_disk
check "times with fractions" fractions_of_times
check "a second server of the name" name_is_taken

# ---- a server with something in it ----

play hold "$name"
holder=$player
declare -A h=()
for word in "${!said[@]}"; do
	h[$word]=${said[$word]}
done

printed() { # printed 0xHEX: as index and generation
	echo "$(($1 & 0xfffffff)):$(($1 >> 28))"
}
held=$(printed "${h[held]}")
sealed=$(printed "${h[sealed]}")
sent=$(printed "${h[sent]}")
channel=$(printed "${h[channel]}")

ids_are_as_the_library_prints_them() {
	[[ ${h[held_text]} = *" $held "* ]]
}
client_row() {
	tarn 0 -s "$name" clients --json
	same "$(json '.clients | length')" 2
	same "$(json '.clients[1] | [.id, .pid, .uid, .state, .quota_bytes] | join(" ")')" \
		"${h[client]} $holder $(id -u) active $((32 << 20))"
	same "$(json '.clients[1].name')" test-cli-client
	json '.clients[1] | .lanes == 1 and .held >= 3 and .owned >= 3 and .held_bytes >= 6000 and
		.messages > 5 and .errors == 0 and .error == null and .ring_percent == 0 and
		.waits > 0 and .wait_p50_ns > 0 and .wait_p99_ns >= .wait_p50_ns and
		.wait_max_ns >= .wait_p99_ns and .owned_bytes >= 9000
		and .up_ns > 0 and .unread == 0 and .incarnation == 1'
}
client_table() {
	tarn 0 -s "$name" clients
	grep -qE "^ +${h[client]} +$holder +test-cli-client +$(id -un) +active +[0-9]+(ms|s) +1 " \
		"$scratch/out"
	grep -qE " 32\.0M +-\$" "$scratch/out"
}
block_rows() {
	tarn 0 -s "$name" blocks --json
	json '[.blocks[].state] | all(. == "live")'
	same "$(json '.blocks | length')" "$(json .totals.blocks)"
	same "$(json '[.blocks[].size_bytes] | add')" "$(json .totals.size_bytes)"
	same "$(json '[.blocks[].capacity_bytes] | add')" "$(json .totals.capacity_bytes)"
	same "$(json ".blocks[] | select(.id == \"$held\") |
		[.kind, .state, .size_bytes, .refs, .owner, .holders[0], .n_holders, .edges] |
		join(\" \")")" "block live 1000 2 ${h[client]} ${h[client]} 1 0"
	same "$(json ".blocks[] | select(.id == \"$sealed\") | .flags")" sealed
	same "$(json ".blocks[] | select(.id == \"$sent\") | [.refs, .n_holders] | join(\" \")")" "1 0"
	same "$(json ".blocks[] | select(.id == \"$channel\") | .kind")" channel
	json '[.blocks[] | .capacity_bytes >= .size_bytes] | all'
}
block_table() {
	tarn 0 -s "$name" blocks
	grep -qE '^ID +KIND +STATE +SIZE +CAPACITY +REFS +OWNER +HOLDERS +AGE$' "$scratch/out"
	grep -qE "^$held +block +live +1000B +[0-9.]+[BK] +2 +${h[client]} +${h[client]} +[0-9]+(ms|s)\$" \
		"$scratch/out"
	grep -qE "^$sealed +block +live +4\.9K " "$scratch/out"
	grep -qE "^total [0-9]+, size [0-9.]+[BKM], capacity [0-9.]+[BKM]\$" "$scratch/out"
	lacks granted
}
block_columns() {
	tarn 0 -s "$name" blocks --bytes --noheadings -o Size,id,flags
	grep -qE "^ *1000  $held +-\$" "$scratch/out"
	grep -qE "^ *5000  $sealed +sealed\$" "$scratch/out"
	lacks 'ID|total'
	tarn 0 -s "$name" blocks --json -o flags,id
	same "$(json '[.blocks[] | keys_unsorted | join(",")] | unique | join(" ")')" flags,id
}
all_blocks() {
	tarn 0 -s "$name" blocks --all --json
	json '[.blocks[] | select(.state == "granted")] | length > 0'
	same "$(json '[.blocks[] | select(.state == "granted") | .owner] | unique | join(" ")')" \
		"${h[client]}"
	tarn 0 -s "$name" blocks -a
	grep -qE '^[0-9]+:[0-9]+ +block +granted ' "$scratch/out"
}
refs_of() { # refs_of ID: its claims as "KIND UNITS CLIENT", sorted, with commas between
	tarn 0 -s "$name" refs --json "$1"
	json '[.refs[] | "\(.kind) \(.units) \(.client)"] | sort | join(",")'
}
refs_of_a_held_block() {
	same "$(refs_of "$held")" "exported 1 ${h[client]},held 1 ${h[client]}"
	same "$(refs_of "${h[held]}")" "$(refs_of "$held")"
	same "$(json '.refs[0] | [.id, .pid, .name] | join(" ")')" "$held $holder test-cli-client"
	tarn 0 -s "$name" refs "$held"
	grep -qE '^ID +KIND +UNITS +CLIENT +PID +NAME +VIA +AT +AGE +DOUBT$' "$scratch/out"
	grep -qE "^$held +held +1 +${h[client]} +$holder +test-cli-client +- +- +[0-9]+(ms|s) +-\$" "$scratch/out"
}
refs_in_transit() {
	same "$(refs_of "$sent")" "transit 1 ${h[client]}"
	same "$(json '.refs[0] | [.via, .at] | join(" ")')" "$channel 0"
}
refs_of_a_channel() {
	same "$(refs_of "$channel")" "held 1 ${h[client]},producer 1 ${h[client]}"
}
refs_without_a_limit() {
	same "$(refs_of "$sealed")" "exported null ${h[client]},held 1 ${h[client]}"
	tarn 0 -s "$name" refs "$sealed"
	grep -qE "^$sealed +exported +- +${h[client]} " "$scratch/out"
}
all_refs() {
	local id
	tarn 0 -s "$name" refs --json
	for id in "$held" "$sealed" "$sent" "$channel"; do
		json "[.refs[] | select(.id == \"$id\")] | length > 0"
	done
	json '[.refs[] | select(.kind == "granted")] | length > 0'
	# What belongs to one id stands together.
	# shellcheck disable=SC2016  # jq's variable
	json '[.refs[].id] | . as $all | (length - (unique | length)) ==
		([range(1; length) | select($all[.] == $all[. - 1])] | length)'
}
stat_counts() {
	tarn 0 -s "$name" stat --json
	json '.objects.blocks_live == 4 and .objects.channels == 1 and .objects.exports == 2 and
		.objects.tickets == 1 and .objects.names == 1 and .clients.clients == 1 and
		.memory.used_bytes > 9000 and .activity.messages > 0'
	tarn 0 -s "$name" stat -o counter,limit,use%
	grep -qE '^used +64\.0M +[0-9]+\.[0-9]$' "$scratch/out"
}
check "ids are as the library prints them" ids_are_as_the_library_prints_them
check "clients, JSON" client_row
check "clients, table" client_table
check "blocks, JSON" block_rows
check "blocks, table" block_table
check "blocks, columns" block_columns
check "blocks --all" all_blocks
check "refs of a held block" refs_of_a_held_block
check "refs of what is in transit" refs_in_transit
check "refs of a channel" refs_of_a_channel
check "refs of a token without a limit" refs_without_a_limit
check "refs of all" all_refs
check "stat counts" stat_counts
check "check finds nothing" clean

play import "$name" "${h[token]}"
importer=$player
two_holders() {
	same "$(refs_of "$held")" "held 1 ${h[client]},held 1 ${said[client]}"
	tarn 0 -s "$name" blocks --noheadings -o id,holders
	grep -qE "^$held +(${h[client]},${said[client]}|${said[client]},${h[client]})\$" "$scratch/out"
}
check "two holders" two_holders

play named "$name"
named=$player
odd_names() {
	tarn 0 -s "$name" clients --json
	json ".clients[] | select(.pid == $named) | .name" >"$scratch/name"
	printf 'a"\\\033[1m\357\277\275b\n' | cmp - "$scratch/name"
	tarn 0 -s "$name" clients --noheadings -o name
	grep -qxF 'a"\?[1m?b' "$scratch/out"
}
check "names that are no text" odd_names

n_clients_is() { # the server's own one among them
	[ "$("$tools/tarn" -s "$name" clients --noheadings | wc -l)" -eq "$1" ]
}
# wait works in the shell that started a process, so not inside check.
kill "$named" "$importer"
for pid in "$named" "$importer"; do
	finish "$pid"
	check "a client ends in order" same "$ended" 0
done
check "both are gone" wait_for n_clients_is 2
end_now "$holder"
nothing_remains() {
	wait_for n_clients_is 1
	tarn 0 -s "$name" blocks --all --noheadings
	silent out
	tarn 0 -s "$name" refs --noheadings
	silent out
	clean
}
check "nothing remains of a killed client" nothing_remains

# ---- findings ----

play hold "$name"
damaged() {
	local index
	index=$(printed "${said[held]}")
	"$client" damage "$server" "${index%:*}"
	tarn 1 -s "$name" check
	grep -qx FINDING "$scratch/out"
	[ "$(wc -l <"$scratch/out")" -ge 2 ]
	one_line " findings"
	tarn 1 -s "$name" check --json
	json '.count >= 1 and (.findings | length >= 1) and (.findings[0].finding | length > 0)'
}
check "check finds what is wrong" damaged
end_now "$player"

# ---- the end ----

kill "$server"
finish "$server"
check "SIGTERM ends the server in order" same "$ended" 0
removed() {
	[ ! -e "$scratch/tarn/$1.sock" ] && [ ! -e "$scratch/tarn/$1.lock" ] &&
		[ ! -e "$scratch/tarn/$1.sock.lock" ]
}
check "its socket is removed" removed "$name"
check "its last line" grep -qx '<6>tarnd: ends' "$scratch/log"

# Signals of tarnd have a script of their own, test-tarnd.sh.
prefix=(env --default-signal=HUP)
serve "$name-HUP" --size 1M
kill -HUP "$server"
finish "$server"
check "SIGHUP ends the server in order" same "$ended" 0
prefix=(env --ignore-signal=HUP)
serve "$name-ignore" --size 1M
kill -HUP "$server"
check "ignored signals stay ignored" tarn 0 -s "$name-ignore" stat
end_server
prefix=()

# Whenever a signal comes, the server ends: in order, or by default action if it comes
# before the handler.
lingering=0
for delay in 0 0.001 0.002 0.003 0.005 0.008 0.01 0.02; do
	"$tools/tarnd" --name "$name-early" --size 1M --log-level error 2>"$scratch/err" &
	early=$!
	started[early]=1
	# Until then it is this shell's child, whose handlers may swallow a signal.
	for ((look = 0; look < 10000; look++)); do
		[ "$(cat "/proc/$early/comm")" != tarnd ] || break
	done
	sleep $delay
	kill "$early"
	finish "$early"
	[ "$ended" -eq 0 ] || [ "$ended" -eq 143 ] || lingering=1
done
check "a signal during the start is not lost" same "$lingering" 0

serve "$name-killed" --size 1M
end_now "$server"
serve "$name-killed" --size 1M
check "a name can be used again after SIGKILL" tarn 0 -s "$name-killed" check
end_server

# ---- other options of tarnd ----

with() { # with FILTER: of stat's JSON
	tarn 0 -s "$name-with" stat --json
	json "$1"
}
serve "$name-with" --backing memfd --io auto --size 2M --watermark 0 --kill-evicted
check "--backing memfd" with '.server.backing == "memfd"'
check "--watermark 0" with '.memory.watermark_bytes <= 4096'
end_server
serve "$name-with" --backing posix --size 1G --log-level warning
check "--backing posix" with '.server.backing == "posix"'
check "--watermark is 1/8 of the cap" with '.memory.watermark_bytes == 134217728'
check "--max-blocks is 4 Mi" with '.objects.max_blocks == 4194304'
check "--log-level warning" silent log
end_server
serve "$name-with" --log-level debug
check "the cap is a part of the memory" with '.memory.arena_bytes > 1048576'
end_server
if try_serve "$name-with" --io uring --size 1M; then
	check "--io uring" with '.server.io == "io_uring"'
	end_server
else
	finish "$server"
	check "--io uring where it is refused" grep -q '^<3>tarnd: .*io_uring' "$scratch/log"
fi

TARN_TARND=$tools/tarnd play start "$name-start"
exe_is() {
	same "$(readlink "/proc/$1/exe")" "$(realpath -- "$2")"
}
pid=${said[pid]}
started[pid]=1
check "TARN_TARND names tarnd for tarn_server_start()" exe_is "${said[pid]}" "$tools/tarnd"
check "which serves" tarn 0 -s "$name-start" check
kill "$player"
finish "$player"
unset "started[$pid]"
check "and is shut down" same "$ended" 0

# A terminal of its own; script(1) ends with what runs in it.
plain_on_a_terminal() {
	tr -d '\r' <"$scratch/typescript" | grep -q "^tarnd: serving $name-tty: " &&
		! grep -q '^<' "$scratch/typescript"
}
if command -v script >/dev/null; then
	script -qefc "exec '$tools/tarnd' --name '$name-tty' --size 1M" "$scratch/typescript" \
		>/dev/null 2>&1 </dev/null &
	terminal=$!
	started[terminal]=1
	wait_for "$tools/tarn" -s "$name-tty" stat >/dev/null 2>&1
	pid=$("$tools/tarn" -s "$name-tty" stat --json | jq .server.pid)
	started[pid]=1
	kill "$pid"
	finish "$terminal"
	unset "started[$pid]"
	check "lines on a terminal are plain" plain_on_a_terminal
else
	skip "lines on a terminal are plain" "no script(1)"
fi

# ---- what is left ----

no_sockets() {
	[ -z "$(find "$scratch/tarn" -name '*.sock')" ]
}
no_names() {
	comm -13 "$scratch/lost-before" <(lost_names | sort) >"$scratch/lost"
	silent lost
}
check "no socket is left" no_sockets
check "no name in /dev/shm is left" no_names
end_tests
