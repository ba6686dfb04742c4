#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs a program of arm64, and what it starts, by qemu-user: in namespaces of its own, where the kernel is
# told how (binfmt_misc, which user namespaces have since Linux 6.7). So nothing of this machine changes,
# nobody need be root, and nothing of it outlives this script: a shell is process 1 there, which
# adopts orphans and ends with the program. /dev/shm is one of its own.
set -euo pipefail

if [ $# -lt 1 ] || [ "$1" = --help ]; then
	echo "Usage: tests/arm64/run.sh PROGRAM [ARGUMENT...]"
	echo "Exit status: the program's; 126 if this machine does not let it run."
	[ "${1:-}" = --help ] && exit
	exit 2
fi
qemu=$(command -v qemu-aarch64) || {
	echo "run.sh: no qemu-aarch64" >&2
	exit 126
}
# ELF, 64 bit, little-endian, a program or a shared object, for aarch64. F: the interpreter is opened now;
# P: it is told the program's own argv[0].
elf='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
export TARN_ARM64_FORMAT=":tarn-arm64:M::$elf:$mask:$qemu:FP"
# shellcheck disable=SC2016  # expanded by the inner shell
exec unshare --user --map-root-user --mount --pid --fork --kill-child sh -c '
	mount -t proc proc /proc &&
	mount -t tmpfs -o mode=1777 tmpfs /dev/shm &&
	mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc &&
	printf %s "$TARN_ARM64_FORMAT" >/proc/sys/fs/binfmt_misc/register || exit 126
	unset TARN_ARM64_FORMAT
	ulimit -c 0
	"$@"
	exit $?' sh "$@"
