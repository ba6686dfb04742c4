#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tarnd as supervisors and people start it: every option with wrong values, what the right ones
# do, signals, systemd's sockets and notices.
# shellcheck disable=SC2317  # functions are called by check
set -euo pipefail

if [ "${1:-}" = --help ]; then
	echo "Usage: test-tarnd.sh"
	echo "Prints TAP: whether tarnd of \$TARN_BUILD_DIR does what its page says."
	exit
fi
# shellcheck source=tests/e2e/lib-cli.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib-cli.sh"
name=tarnd-$$

run() { # run STATUS COMMAND...: it must end so; its output is in $scratch/out and err
	local want=$1 status=0
	shift
	timeout 60 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
	if [ "$status" -ne "$want" ]; then
		echo "$* ended with $status, not $want"
		cat "$scratch/out" "$scratch/err"
		return 1
	fi
}
# serve OPTION...: sets $server, which serves $name. @prefix is put in front.
prefix=()
serve() {
	local line=
	[ -p "$scratch/ready" ] || mkfifo "$scratch/ready"
	"${prefix[@]}" "$tools/tarnd" --name "$name" --size 4M --ready-fd 3 "$@" 3>"$scratch/ready" \
		2>"$scratch/log" </dev/null &
	server=$!
	started[server]=1
	read -r line <"$scratch/ready" || true
	[ "$line" = "READY $name" ] || {
		echo "Bail out! tarnd did not start: $(cat "$scratch/log")"
		exit 1
	}
}
ended() { # ended PID: waits for this child, says how it ended
	local status=0
	wait "$1" || status=$?
	unset "started[$1]"
	how=$status
}
end_server() {
	"$tools/tarn" -s "$name" check >"$scratch/out" 2>&1 || {
		echo "# findings:" >&2
		cat "$scratch/out" >&2
		bad=1
	}
	kill "$server"
	ended "$server"
	[ "$how" -eq 0 ] || bad=1
}

# ---- wrong values ----

printf 'a key of more than 16 bytes' >"$scratch/key"
cp "$scratch/key" "$scratch/open-key"
printf short >"$scratch/short-key"
chmod 600 "$scratch/key" "$scratch/short-key"
chmod 644 "$scratch/open-key"
huge=99999999999999999999
# By option: values that are none. What is listed nowhere below fails the test.
declare -A wrong=(
	[--name]=".hidden|@|$(printf 'x%.0s' {1..70})"
	[--size]="x|0|1|1023K|1T|-1|$huge"
	[--max-blocks]="x|0|1G|$huge"
	[--quota]="x|-1|1.5M"
	[--watermark]="x|1KB"
	[--backing]="disk|"
	[--io]="poll|URING"
	[--spin-us]="1s|-1|1000001"
	[--cpus]="x|9999|0,|node999|8000"
	[--process-name]="|sixteen letters!"
	[--allow-user]="|no such user|-1|4294967295|$huge"
	[--allow-group]="|no such group|-1|4294967295"
	[--authkey-file]="/no/such/file|$scratch/open-key|$scratch/short-key|$scratch"
	[--load]="/no/such/module.so|$scratch|$scratch/short-key|"
	[--max-executors]="x|0|-1|4097|$huge"
	[--ready-fd]="x|0|2|77"
	[--log-level]="loud|7"
	[--keeper]="yes|ON|"
)
refused() { # refused TEXT ARGUMENT...: one line that has TEXT, exit 2, at once
	run 2 "$tools/tarnd" "${@:2}"
	[ ! -s "$scratch/out" ]
	one_line "$1"
}
mapfile -t with_value < <("$tools/tarnd" --help | sed -nE 's/^  (-., |    )(--[a-z-]+) [A-Z].*/\2/p')
mapfile -t flags < <("$tools/tarnd" --help | sed -nE 's/^  (-., |    )(--[a-z-]+)  .*/\2/p')
check "the help has options of both kinds" test ${#with_value[@]} -ge 10 -a ${#flags[@]} -ge 4
for option in "${with_value[@]}"; do
	check "$option: wrong values are known to this test" test -n "${wrong[$option]:-}"
	IFS='|' read -ra values <<<"${wrong[$option]:-}|"
	for value in "${values[@]}"; do
		check "$option '${value:0:30}' is refused by name" refused "$option: " "$option" "$value"
	done
	check "$option without its value" refused "'$option'" "$option"
done
for option in "${flags[@]}"; do
	check "$option with a value" refused "'$option' takes no value" "$option=yes"
done
check "--keep with memfds" refused "--keep: " --keep --backing memfd
check "--detach with --ready-fd" refused "--detach: " --detach --ready-fd 1
many_users() {
	local i args=()
	for i in {1..70}; do args+=(--allow-user "$i"); done
	refused "--allow-user: " "${args[@]}"
}
check "--allow-user too often" many_users

# ---- what options do ----

cpu=$(sed -nE 's/^Cpus_allowed_list:\s*([0-9]+).*/\1/p' /proc/self/status)
serve --cpus "$cpu" --process-name "a tarn of $$" --keep --log-level debug
cpus_are() {
	same "$(sed -nE 's/^Cpus_allowed_list:\s*//p' "/proc/$server/task/"*/status | sort -u)" "$1"
}
names_of() {
	compgen -G "/dev/shm/tarn-*-$server-*" || true
}
gone() {
	[ -z "$(compgen -G "/dev/shm/tarn-*-$1-*" || true)" ]
}
check "--cpus" cpus_are "$cpu"
check "--process-name" same "$(cat "/proc/$server/comm")" "a tarn of $$"
check "--keep" same "$(names_of | wc -l)" 6
pid=$server
end_server
check "names are gone after an orderly end" gone "$pid"
check "debug lines are logged with --log-level debug" grep -q '^<6>tarnd: ends$' "$scratch/log"
serve --keep
kill -KILL "$server"
ended "$server"
pid=$server
serve # any server sweeps
check "names of a killed server are swept by the next start" gone "$pid"
end_server

serve --authkey-file "$scratch/key"
no_key() {
	run 2 "$tools/tarn" -s "$name" stat
	one_line TARN_AUTHKEY_FILE
}
wrong_key() {
	printf 'another key of some bytes' >"$scratch/other-key"
	chmod 600 "$scratch/other-key"
	TARN_AUTHKEY_FILE=$scratch/other-key run 2 "$tools/tarn" -s "$name" stat
	one_line authkey
}
check "--authkey-file: without a key" no_key
check "--authkey-file: with another key" wrong_key
export TARN_AUTHKEY_FILE=$scratch/key
check "--authkey-file: with the key" run 0 "$tools/tarn" -s "$name" stat
check "the key is not in the log" test -z "$(grep -F 'a key of' "$scratch/log")"
end_server
unset TARN_AUTHKEY_FILE

# Another user, who must reach the program and the socket.
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	public=$(mktemp -d)
	chmod 755 "$public"
	cp "$tools/tarn" "$public"
	as_nobody() { # as_nobody GROUP STATUS COMMAND...
		run "$2" setpriv --reuid=65534 --regid="$1" --clear-groups "${@:3}"
	}
	plain=$name
	name=$public/x.sock
	serve --allow-user nobody --allow-group 4711
	check "--allow-user by name" as_nobody 4712 0 "$public/tarn" -s "$name" stat
	end_server
	serve --allow-user 65534
	check "--allow-user by number" as_nobody 4712 0 "$public/tarn" -s "$name" stat
	end_server
	serve --allow-group 4711
	check "--allow-group" as_nobody 4711 0 "$public/tarn" -s "$name" stat
	check "who is in no list" as_nobody 4712 2 "$public/tarn" -s "$name" stat
	end_server
	serve
	check "nobody else without lists" as_nobody 4711 2 "$public/tarn" -s "$name" stat
	end_server
	name=$plain
	rm -rf -- "$public"
	serve --allow-user nobody
	check "a plain name for others is warned of" grep -q '^<4>.*cannot reach' "$scratch/log"
	end_server
else
	skip "--allow-user, --allow-group" "other users take root and setpriv"
fi

# ---- signals ----

prefix=(env --default-signal=INT --default-signal=HUP)
serve
for _ in 1 2 3; do kill -INT "$server"; done
check "SIGINT is ignored" run 0 "$tools/tarn" -s "$name" check
kill -TERM "$server"
ended "$server"
check "SIGTERM ends in order" same "$how" 0
check "and says so" grep -q '^<6>tarnd: ends$' "$scratch/log"
serve
kill -HUP "$server"
ended "$server"
check "SIGHUP ends in order" same "$how" 0
prefix=()

# ---- in the background ----

detached() {
	run 0 "${TARN_TARND:-$tools/tarnd}" --detach --name "$name" --size 4M --process-name back \
		--log-level info
	grep -qE '^[0-9]+$' "$scratch/out"
}
check "--detach returns with a pid" detached
pid=$(cat "$scratch/out")
started[pid]=1
check "and clients can attach" run 0 "$tools/tarn" -s "$name" check
check "it has a session of its own" same "$(ps -o sid= -p "$pid" | tr -d ' ')" "$pid"
check "and its name" same "$(cat "/proc/$pid/comm")" back
kill -HUP "$pid"
wait_for test ! -e "$scratch/tarn/$name.sock"
unset "started[$pid]"
check "SIGHUP ends it in order" grep -q '"'"$name"'": ends$' "$scratch/err"
taken() {
	run 1 "$tools/tarnd" --detach --name "$name"
	one_line "$name"
}
serve
check "--detach with a name that is taken" taken
end_server

# ---- systemd ----

# given TYPE COMMAND...: becomes the command with a listening socket $scratch/given.sock of that
# type. In a subshell.
given() {
	exec python3 - "$scratch/given.sock" "$@" <<'END'
import os, socket, sys
path, kind, command = sys.argv[1], sys.argv[2], sys.argv[3:]
s = socket.socket(socket.AF_UNIX, getattr(socket, kind))
if os.path.exists(path):
    os.unlink(path)
s.bind(path)
if kind != "SOCK_DGRAM":
    s.listen()
if s.fileno() != 3:
    os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="x")
os.execv(command[0], command)
END
}
# Writes down what is said to the notify socket.
python3 - "$scratch/notify" >"$scratch/notices" <<'END' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    text = s.recv(4096).decode()
    print(text.replace("\n", " "), flush=True)
    if "STOPPING" in text:
        break
END
listener=$!
started[listener]=1
wait_for test -e "$scratch/notify"
(
	export NOTIFY_SOCKET=$scratch/notify
	given SOCK_SEQPACKET "$tools/tarnd" --size 4M 2>"$scratch/log"
) &
server=$!
started[server]=1
wait_for grep -q READY=1 "$scratch/notices"
check "a socket that is given is served" run 0 "$tools/tarn" -s "$scratch/given.sock" check
check "readiness is told" grep -qx "READY=1 STATUS=Serving $scratch/given.sock" "$scratch/notices"
name_is_kept() {
	run 1 "$tools/tarnd" --name "$scratch/given.sock" --size 4M
	one_line "another server lives"
}
check "nobody takes its name" name_is_kept
kill "$server"
ended "$server"
check "it ends in order" same "$how" 0
ended "$listener"
check "the end is told" grep -qx STOPPING=1 "$scratch/notices"
check "a socket that was given stays" test -S "$scratch/given.sock"
wrong_socket() {
	local status=0
	(given "$1" "$tools/tarnd" --size 4M >"$scratch/out" 2>"$scratch/err") || status=$?
	same "$status" 1
	one_line SOCK_SEQPACKET
}
check "a stream socket is refused in words" wrong_socket SOCK_STREAM
check "a datagram socket is refused in words" wrong_socket SOCK_DGRAM
others_socket() {
	LISTEN_FDS=1 LISTEN_PID=1 run 0 "$tools/tarnd" --detach --name "$name" --size 4M
	pid=$(cat "$scratch/out")
	[ -S "$scratch/tarn/$name.sock" ]
	kill "$pid"
	wait_for test ! -e "$scratch/tarn/$name.sock"
}
check "sockets of another process are not ours" others_socket

if command -v systemd-socket-activate >/dev/null; then
	rm -f "$scratch/given.sock"
	systemd-socket-activate --seqpacket -l "$scratch/given.sock" -E XDG_RUNTIME_DIR \
		"$tools/tarnd" --size 4M 2>"$scratch/log" </dev/null &
	server=$!
	started[server]=1
	wait_for test -S "$scratch/given.sock"
	check "systemd-socket-activate starts it for the first client" run 0 \
		"$tools/tarn" -s "$scratch/given.sock" check
	kill "$server"
	ended "$server"
	check "which ends in order" same "$how" 0
else
	skip "systemd-socket-activate starts it for the first client" "no systemd-socket-activate"
fi

unit() { # unit FILE LINE
	grep -qxF -- "$2" "$1"
}
no_placeholders() {
	! grep -n '@[a-z]*@' "$tools/tarnd.service"
}
check "the service has no placeholders" no_placeholders
check "the service tells when it is ready" unit "$tools/tarnd.service" Type=notify
check "the socket has our type and place" unit "$top/tools/systemd/tarnd.socket" \
	ListenSequentialPacket=%t/tarn/default.sock
if command -v systemd-analyze >/dev/null; then
	verify() {
		mkdir -p "$scratch/units"
		sed "s|^ExecStart=.*|ExecStart=$tools/tarnd|" "$tools/tarnd.service" \
			>"$scratch/units/tarnd.service"
		cp "$top/tools/systemd/tarnd.socket" "$scratch/units"
		# The page is not installed, and here may be no manager to ask; the rest counts.
		SYSTEMD_LOG_LEVEL=warning systemd-analyze --user --man=no --recursive-errors=no verify \
			"$scratch/units/tarnd.service" "$scratch/units/tarnd.socket" 2>&1 |
			grep "$scratch/units" >"$scratch/verdict" || true
		[ ! -s "$scratch/verdict" ] || {
			cat "$scratch/verdict"
			return 1
		}
	}
	check "systemd-analyze finds nothing wrong with the units" verify
else
	skip "systemd-analyze finds nothing wrong with the units" "no systemd-analyze"
fi

# ---- by hand ----

if command -v script >/dev/null; then
	told_how_to_end_it() { # as whoever sees that Ctrl-C does nothing reads it
		local end
		script -qefc "$tools/tarnd --name $name --size 4M" "$scratch/typescript" >/dev/null 2>&1 </dev/null &
		wait_for grep -q 'kill [0-9]' "$scratch/typescript"
		end=$(grep -o 'kill [0-9]*' "$scratch/typescript")
		$end
		wait $!
		grep -q '^tarnd: ends' "$scratch/typescript"
	}
	check "on a terminal it is said how to end it" told_how_to_end_it
else
	skip "on a terminal it is said how to end it" "no script(1)"
fi

# ---- nobody reads its log ----

mkfifo "$scratch/full"
exec 4<>"$scratch/full" # a reader that reads nothing
dd if=/dev/zero of="$scratch/full" oflag=nonblock bs=4096 count=1000 2>/dev/null || true
"$tools/tarn" serve --name "$name" --size 4M --log-level debug 2>"$scratch/full" </dev/null &
server=$!
started[server]=1
wait_for test -S "$scratch/tarn/$name.sock"
check "a server whose log nobody reads serves" run 0 "$tools/tarn" -s "$name" check
kill "$server"
ended "$server"
check "and ends in order" same "$how" 0
exec 4>&-

# ---- what is left ----

no_sockets() {
	[ -z "$(find "$scratch/tarn" -name '*.sock*')" ]
}
check "no socket and no lock file is left" no_sockets
echo "1..$n"
exit $bad
