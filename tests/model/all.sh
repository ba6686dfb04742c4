#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every model and every negative control; prints TAP, each verdict as it arrives.
# A model passes if a complete search finds no error. A control is the same model with one
# rule of the protocol broken; it passes if the search does find the error: that is how we
# know that the model would notice.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Expected verdict (good: no error, bad: an error), name, file, macros. Those that take long
# come first, so that no core is idle at the end.
variants=(
	"good refs_repaired_120   refs.pml    -DMODE=2 -DK1=2 -DK2=0"
	"good refs_repaired_111   refs.pml    -DMODE=2"
	"good refs_repaired_rev   refs.pml    -DMODE=2 -DREV"
	"good mpmc_repaired2      mpmc.pml    -DNMSG=2 -DC=2 -DMAXKILL=1"
	"bad  refs_setledger      refs.pml    -DMODE=2 -DSETLEDGER -DK1=3 -DK2=0 -DCAP=8"
	"bad  refs_noabsorb       refs.pml    -DMODE=2 -DNOABS -DK1=2 -DK2=0"
	"bad  refs_proposal       refs.pml    -DMODE=0"
	"bad  refs_nocausality    refs.pml    -DMODE=1"
	"bad  refs_same_epoch     refs.pml    -DMODE=3"
	"good chan_repaired       chan.pml    -DNS=3 -DCCAP=1"
	"good chan_repaired2      chan.pml    -DNS=3 -DCCAP=2"
	"bad  chan_QLATE          chan.pml    -DQLATE"
	"bad  chan_PLATE          chan.pml    -DPLATE"
	"bad  chan_SCANLATE       chan.pml    -DSCANLATE"
	"bad  chan_NODELAY        chan.pml    -DNODELAY"
	"good move_at_once        move.pml"
	"good move_at_once_rev    move.pml    -DREV"
	"good move_later          move.pml    -DNOT -DNOWAIT -DREV"
	"bad  move_NOWAIT         move.pml    -DNOWAIT -DREV"
	"bad  move_CLOSED         move.pml    -DCLOSED"
	"bad  move_NODELAY        move.pml    -DNODELAY"
	"good wake_fences         wake.pml"
	"good wake_membarrier     wake.pml    -DMEMB"
	"bad  wake_NOFC           wake.pml    -DNOFC"
	"bad  wake_NOFS           wake.pml    -DNOFS"
	"bad  wake_NORECHECK      wake.pml    -DNORECHECK"
	"good recover_repaired    recover.pml -DNM=6 -DMAXC=3"
	"bad  recover_NOUNDO      recover.pml -DNOUNDO"
	"bad  recover_LOGLATE     recover.pml -DLOGLATE"
	"bad  recover_PUBEARLY    recover.pml -DPUBEARLY"
	"bad  recover_NOREPUB     recover.pml -DNOREPUB"
	"good mpmc_repaired       mpmc.pml    -DNMSG=1 -DC=1"
	"bad  mpmc_NOREPAIR       mpmc.pml    -DNOREPAIR -DNMSG=1 -DC=1"
	"bad  mpmc_REDELIVER      mpmc.pml    -DREDELIVER -DNMSG=1 -DC=1"
)

usage() {
	cat <<'END'
Usage: all.sh [-j JOBS] [--list] [NAME...]

Checks the variants of the models whose names match the patterns, or all of them, at most
JOBS (default 2) at a time, and prints TAP. All of them together take some minutes; none
needs more than 1.4 GiB.

  -j JOBS  how many at a time
  --list   print the names instead

MODEL_MEM (MiB, default 4000) and MODEL_TIME (seconds, default 900) limit each search;
one that hits a limit fails. See run.sh --help for the others.
END
}

jobs=2
list=no
names=()
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit
		;;
	--list) list=yes ;;
	-j)
		shift
		jobs=${1:-}
		[[ $jobs =~ ^[1-9][0-9]?$ ]] || {
			echo "all.sh: -j needs a number from 1 to 99" >&2
			exit 2
		}
		;;
	-*)
		echo "all.sh: unknown option '$1'" >&2
		exit 2
		;;
	*) names+=("$1") ;;
	esac
	shift
done

selected() {
	local pattern
	[ ${#names[@]} -gt 0 ] || return 0
	for pattern in "${names[@]}"; do
		# shellcheck disable=SC2053  # a pattern is meant
		[[ $1 != $pattern ]] || return 0
	done
	return 1
}

todo=()
for variant in "${variants[@]}"; do
	read -r _ name _ <<<"$variant"
	selected "$name" || continue
	todo+=("$variant")
	[ $list = no ] || echo "$name"
done
[ $list = no ] || exit 0
if [ ${#todo[@]} -eq 0 ]; then
	echo "all.sh: no variant is named '${names[*]}'" >&2
	exit 2
fi

echo "TAP version 13"
for tool in spin gcc; do
	if ! command -v $tool >/dev/null; then
		echo "1..0 # SKIP $tool is not installed"
		exit 0
	fi
done
echo "1..${#todo[@]}"

TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/tarn-models-XXXXXX")
export TMPDIR MODEL_MEM=${MODEL_MEM:-4000}
# Whatever ends us ends the searches; a directory that run.sh kept for a look stays.
# shellcheck disable=SC2317  # called by the trap
cleanup() {
	local running
	mapfile -t running < <(jobs -p)
	[ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2>/dev/null || true
	rmdir -- "$TMPDIR" 2>/dev/null || echo "# see $TMPDIR"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

declare -A job_variant=() # by pid
n=0
bad=0

finish_one() { # waits for any search and prints its verdict
	local pid status=0 want name said verdict="not ok" note=""
	wait -n -p pid || status=$?
	read -r want name _ <<<"${job_variant[$pid]}"
	unset "job_variant[$pid]"
	said=$(cat -- "$TMPDIR/$name.verdict")
	rm -f -- "$TMPDIR/$name.verdict"
	case $want$status in
	good0) verdict=ok ;;
	bad1) verdict=ok note=", as this control must" ;;
	*) bad=1 ;;
	esac
	n=$((n + 1))
	echo "$verdict $n - $said$note"
}

for variant in "${todo[@]}"; do
	[ ${#job_variant[@]} -lt "$jobs" ] || finish_one
	read -r _ name file macros <<<"$variant"
	# shellcheck disable=SC2086  # the macros are words
	"$here/run.sh" "$here/$file" "$name" $macros \
		>"$TMPDIR/$name.verdict" 2>&1 &
	job_variant[$!]=$variant
done
while [ ${#job_variant[@]} -gt 0 ]; do
	finish_one
done
exit $bad
