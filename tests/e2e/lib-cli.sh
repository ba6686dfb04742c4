# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the tests of the programs share. Sourced, with the path of test-cli-client as $1 if need be: sets
# $tools and $scratch, a server directory of its own, and cleans up at the end.
# shellcheck disable=SC2034,SC2317  # others use it; functions are called by check

client=${1:+$(realpath -- "$1")}
top=${TARN_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
tools=${TARN_BUILD_DIR:?}/tools
pages=$top/docs/man
scratch=$(mktemp -d)
export XDG_RUNTIME_DIR=$scratch
unset TARN_SERVER TARN_SPIN_US TARN_TARND TARN_AUTHKEY_FILE LISTEN_FDS LISTEN_PID NOTIFY_SOCKET
name=cli-$$
started=() # by number: what lives, and so is killed at the end

clean_up() {
	local pid
	for pid in "${!started[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
	done
	rm -rf -- "$scratch"
}
trap clean_up EXIT

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
		sed 's/^/# /' "$scratch/said" >&2
	fi
	echo "$verdict $n - $what"
}
skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# wait_for COMMAND...: until it succeeds. With a limit of its own, far above what anything here takes:
# a condition that cannot come true is then one failed check, and not a program that hangs.
wait_for() {
	local end=$((SECONDS + 60 * ${PLAIN_TIMEOUT_SCALE:-1}))
	until "$@"; do
		if [ $SECONDS -ge $end ]; then
			echo "waited in vain for: $*"
			return 1
		fi
		sleep 0.02
	done
}

# ---- running ----

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
tarn() { # tarn STATUS ARGUMENT...
	local want=$1
	shift
	run "$want" timeout 60 "$tools/tarn" "$@"
}
silent() { # silent FILE: it is empty
	[ ! -s "$scratch/$1" ] || {
		echo "$1 is not empty:"
		cat "$scratch/$1"
		return 1
	}
}
one_line() { # one_line TEXT: stderr is one line, with TEXT in it
	if [ "$(wc -l <"$scratch/err")" -ne 1 ] || ! grep -qF -e "$1" "$scratch/err"; then
		echo "stderr is not one line with \"$1\":"
		cat "$scratch/err"
		return 1
	fi
}
lacks() { # lacks PATTERN: the output has no such line
	! grep -E "$1" "$scratch/out"
}
same() { # same A B
	[ "$1" = "$2" ] || {
		echo "\"$1\" is not \"$2\""
		return 1
	}
}
json() { # json FILTER: of the last output, which must be valid
	jq -er "$1" "$scratch/out"
}

# try_serve NAME OPTION...: sets $server, which serves when this returns 0. @prefix is put in
# front.
prefix=()
server_program=("$tools/tarnd")
try_serve() {
	local line=
	[ -p "$scratch/ready" ] || mkfifo "$scratch/ready"
	"${prefix[@]}" "${server_program[@]}" --name "$1" --ready-fd 3 "${@:2}" 3>"$scratch/ready" \
		2>"$scratch/log" </dev/null &
	server=$!
	started[server]=1
	read -r line <"$scratch/ready" || true
	[ "$line" = "READY $1" ]
}
serve() {
	try_serve "$@" || {
		echo "Bail out! the server did not start: $(cat "$scratch/log")"
		exit 1
	}
}
finish() { # finish PID: sets $ended to how it ended. Not in a subshell: that has no children
	local tries=$((3000 * ${PLAIN_TIMEOUT_SCALE:-1}))
	while grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null; do
		if [ $((tries -= 1)) -le 0 ]; then
			echo "# process $1 does not end" >&2
			kill -KILL "$1"
			break
		fi
		sleep 0.02
	done
	ended=0
	wait "$1" || ended=$?
	unset "started[$1]"
}
end_now() { # end_now PID: by SIGKILL, without a word from bash
	{
		kill -KILL "$1"
		wait "$1" || true
	} 2>/dev/null
	unset "started[$1]"
}
end_server() {
	kill "$server"
	finish "$server"
}

# play WHAT ARGUMENT...: starts the client; sets $player, and said[WORD] to what it said.
declare -A said=()
play() {
	local word value
	[ -p "$scratch/play" ] || mkfifo "$scratch/play"
	"$client" "$@" >"$scratch/play" 2>"$scratch/play-err" </dev/null &
	player=$!
	started[player]=1
	said=()
	while read -r word value; do
		[ "$word" != READY ] || return 0
		said[$word]=$value
	done <"$scratch/play"
	echo "Bail out! $client $*: $(cat "$scratch/play-err")"
	exit 1
}

# The names in /dev/shm that nobody who lives uses: programs that run beside us have theirs
# for a moment.
lost_names() {
	local file
	for file in /dev/shm/*tarn*; do
		if [ -e "$file" ] && ! grep -qF -- "$file" /proc/[0-9]*/maps 2>/dev/null &&
			! find /proc/[0-9]*/fd -lname "$file" 2>/dev/null | grep -q .; then
			echo "$file"
		fi
	done
}
lost_names | sort >"$scratch/lost-before"

end_tests() { # the last line of TAP
	echo "1..$n"
	exit $bad
}
