#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The libraries of an arm64 Debian in a directory, and a cross file for meson that uses them. The packages
# come from where this machine has its own from, by apt, but with all that apt keeps in that directory:
# nothing of this machine changes, and nobody need be root.
set -euo pipefail

packages=(libc6-dev liburing-dev libxxhash-dev libdw-dev libncurses-dev
	systemtap-sdt-dev libcriterion-dev)

if [ $# -ne 1 ] || [ "$1" = --help ]; then
	echo "Usage: tests/arm64/root.sh DIR"
	echo "Makes DIR/root, some 170 MB, and DIR/cross.ini; quick if they are there already."
	echo "Needs apt, dpkg and Debian's archive. Exit status: 0 done, 1 it cannot be made, 2 wrong usage."
	[ "${1:-}" = --help ] && exit
	exit 2
fi
run=$(realpath -- "$(dirname -- "${BASH_SOURCE[0]}")/run.sh")
mkdir -p -- "$1"
dir=$(realpath -- "$1")
# What it is made by and for; another place or list makes it anew.
stamp=$(cat -- "${BASH_SOURCE[0]}" && echo "$dir $run")

if [ "$(cat -- "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
	exit
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
	echo "root.sh: no apt here" >&2
	exit 1
fi
rm -rf -- "$dir/stamp" "$dir/root" "$dir/apt"
mkdir -p -- "$dir/root" "$dir/apt/state/lists/partial" "$dir/apt/cache/archives/partial"
: >"$dir/apt/status"
cat >"$dir/apt/conf" <<END2
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "0";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Debug::NoLocking "1";
Dir::State "$dir/apt/state";
Dir::State::status "$dir/apt/status";
Dir::Cache "$dir/apt/cache";
END2
export APT_CONFIG=$dir/apt/conf
if ! { apt-get -q update && apt-get -q -y --download-only install "${packages[@]}"; } \
	</dev/null >"$dir/apt/log" 2>&1; then
	tail -n 5 -- "$dir/apt/log" >&2
	echo "root.sh: no packages for arm64" >&2
	exit 1
fi
for file in "$dir"/apt/cache/archives/*.deb; do
	dpkg-deb -x "$file" "$dir/root"
done
rm -rf -- "$dir/apt/cache" "$dir/apt/state" "$dir"/root/{bin,etc,sbin,var} "$dir"/root/usr/{bin,sbin,share}
# Links to /lib/... mean the root's own.
while IFS= read -r link; do
	ln -sfn -- "$dir/root$(readlink -- "$link")" "$link"
done < <(find "$dir/root" -lname '/*')

# Programs name the root's loader and libraries themselves, so that they find them also where they start
# each other with another environment.
cat >"$dir/cross.ini" <<END2
[constants]
root = '$dir/root'
libs = root + '/lib/aarch64-linux-gnu:' + root + '/usr/lib/aarch64-linux-gnu'

[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = '$run'

[built-in options]
c_args = '--sysroot=' + root
c_link_args = ['--sysroot=' + root, '-Wl,--dynamic-linker=' + root + '/lib/ld-linux-aarch64.so.1',
  '-Wl,--disable-new-dtags', '-Wl,-rpath,' + libs]

[properties]
sys_root = root
pkg_config_libdir = [root + '/usr/lib/aarch64-linux-gnu/pkgconfig', root + '/usr/share/pkgconfig']

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END2
printf '%s\n' "$stamp" >"$dir/stamp"
