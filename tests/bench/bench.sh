#!/bin/bash
# Measures orbitfs against libfuse's passthrough example and a plain directory, in one run, in turn.
#
#   bench.sh BUILD-DIR [TARGET ...]     targets: plain passthrough embedded nodes3r1 nodes3r2 nodes3r3
#
# Environment: ROUNDS=3 (the median counts), MB=512 (the big file), WORK=folder to work in.
# Cold rows: the mount is made anew and the kernel's caches are dropped before (needs root).
set -u
out=${1:?usage: bench.sh BUILD-DIR [TARGET ...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(plain passthrough embedded nodes3r1 nodes3r2 nodes3r3)
rounds=${ROUNDS:-3} mb=${MB:-512}
work=$(mktemp -d "${WORK:-/var/tmp}/orbitfs-bench.XXXXXX")
bin=$(cd "$out/bin" && pwd)
pids=()
mounted=

cleanup() {
	[ -z "$mounted" ] || fusermount3 -u -z "$work/mnt" 2>/dev/null
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null; done
	wait 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() { echo "bench: $*" >&2; exit 1; }

gcc -O2 -D_GNU_SOURCE -o "$work/bench" "$(dirname "$0")/bench.c" -lpthread || fail "cannot compile bench.c"
examples=/usr/share/doc/libfuse3-dev/examples
if [[ " ${targets[*]} " == *" passthrough "* ]]; then
	# a package may have compressed it
	mkdir "$work/pt"
	cp "$examples"/passthrough* "$work/pt" 2>/dev/null
	gunzip -f "$work"/pt/*.gz 2>/dev/null
	gcc -O2 -D_FILE_OFFSET_BITS=64 -o "$work/passthrough" "$work/pt/passthrough_ll.c" \
		$(pkg-config --cflags --libs fuse3) 2>"$work/pt.log" || fail "cannot compile passthrough_ll: $(head -1 "$work/pt.log")"
fi

# a tar of 3,000 files in 100 folders, 1 to 16 KiB each
mkdir "$work/tree"
for d in $(seq 100); do
	mkdir "$work/tree/d$d"
	for f in $(seq 30); do
		head -c $(((d * 31 + f * 17) % 16 * 1024 + 1000)) /dev/zero | tr '\0' 'x' >"$work/tree/d$d/f$f"
	done
done
tar cf "$work/tree.tar" -C "$work/tree" .
rm -rf "$work/tree"

up() { # target: mount it (again) on what it has
	local t=$1
	mkdir -p "$work/mnt"
	case $t in
	plain) dir=$work/plain; mkdir -p "$dir" ;;
	passthrough)
		mkdir -p "$work/pt-data"
		"$work/passthrough" -o source="$work/pt-data",cache=auto,timeout=1 "$work/mnt" || fail "passthrough does not mount"
		mounted=1 dir=$work/mnt ;;
	embedded)
		[ -e "$work/store" ] || "$bin/orbitctl" mkfs --store "$work/store" >/dev/null || fail "mkfs"
		"$bin/orbitfs" -o log="$work/orbitfs.log" --store "$work/store" "$work/mnt" || fail "orbitfs does not mount"
		mounted=1 dir=$work/mnt ;;
	nodes3r?)
		local w=$work/$t
		[ -e "$w/addrs" ] || start_nodes "$w" "${t#nodes3r}"
		"$bin/orbitfs" -o log="$work/orbitfs.log",cluster="$(cat "$w/addrs")" "$work/mnt" || fail "orbitfs does not mount"
		mounted=1 dir=$work/mnt ;;
	*) fail "unknown target $t" ;;
	esac
}

down() {
	if [ -n "$mounted" ]; then
		fusermount3 -u "$work/mnt" || fail "cannot unmount"
		mounted=
		# the process may still be writing out what it has
		for _ in $(seq 300); do pgrep -f "$work/mnt" >/dev/null || break; sleep 0.1; done
	fi
}

start_nodes() { # target folder copies
	local i addrs=() w=$1
	mkdir -p "$w"
	for i in 0 1 2; do addrs+=("127.0.0.1:$((20000 + RANDOM % 20000))"); done
	"$bin/orbitctl" cluster init --store "$w/0" --addr "${addrs[0]}" --replicas "$2" >/dev/null || fail "cluster init"
	for i in 0 1 2; do
		"$bin/orbitd" --config /dev/null --store "$w/$i" --listen "${addrs[i]}" \
			$([ $i = 0 ] || echo --join "${addrs[0]}") --log "$w/$i.log" &
		pids+=($!)
	done
	(IFS=,; echo "${addrs[*]}" >"$w/addrs")
	for i in $(seq 300); do
		"$bin/orbitctl" status --json -o cluster="${addrs[0]}" 2>"$work/status.log" |
			grep -q '"health": "HEALTHY".*"up": true.*"up": true.*"up": true' &&
			"$bin/orbitctl" rebalance status --json -o cluster="${addrs[0]}" | grep -q '"copies_left": 0' && break
		[ "$i" = 300 ] && fail "the nodes do not get well: $(cat "$work/status.log")"
		sleep 0.1
	done
	"$bin/orbitctl" mkfs -o cluster="$(cat "$w/addrs")" >/dev/null || fail "mkfs"
}

drop() { # [names]
	local what=3
	[ -z "${1:-}" ] || what=2
	sync
	echo $what >/proc/sys/vm/drop_caches 2>/dev/null || warn_cold=1
}
warn_cold=

declare -A value
note() { value[$1/$2]+=" $3"; }

round() {
	local t=$1 r
	up "$t"
	note "$t" seqwrite "$("$work/bench" "$dir" seqwrite "$mb")"
	down; drop; up "$t"
	note "$t" coldread "$("$work/bench" "$dir" seqread "$mb")"
	note "$t" warmread "$("$work/bench" "$dir" seqread "$mb")"
	down; drop; up "$t"
	note "$t" randread "$("$work/bench" "$dir" randread "$mb")"
	note "$t" randwrite "$("$work/bench" "$dir" randwrite "$mb")"
	rm -f "$dir/big"
	for r in create1 stat1 read1 restat reread; do
		note "$t" $r "$("$work/bench" "$dir" $r)"
	done
	drop names # the kernel's; a mount's own are left
	note "$t" mountstat "$("$work/bench" "$dir" stat1)"
	for r in rename1 unlink1 create4 stat4 read4 rename4 unlink4; do
		note "$t" $r "$("$work/bench" "$dir" $r)"
	done
	rm -rf "$dir/small"
	mkdir "$dir/untar"
	local a b
	a=$(date +%s%N)
	tar xf "$work/tree.tar" -C "$dir/untar" || fail "untar on $t"
	b=$(date +%s%N)
	note "$t" untar "$(awk -v ns=$((b - a)) 'BEGIN{printf "%.1f", 3000/(ns/1e9)}')"
	rm -rf "$dir/untar"
	down
}

for i in $(seq "$rounds"); do
	for t in "${targets[@]}"; do
		echo "bench: round $i of $rounds: $t" >&2
		round "$t"
	done
done

median() { tr ' ' '\n' <<<"$1" | grep . | sort -n | awk '{v[NR]=$1} END{print v[int((NR+1)/2)]}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN{if (b > 0) printf "%.2f", a/b; else printf "-"}'; }

[ -z "$warn_cold" ] || echo "bench: not root: the cold rows were not cold" >&2
printf '%-22s' "row (median of $rounds)"
for t in "${targets[@]}"; do printf '%16s' "$t"; done
echo "   ratio to passthrough"
for r in seqwrite:MB/s coldread:MB/s warmread:MB/s randread:IOPS randwrite:IOPS \
	create1:ops/s stat1:ops/s read1:ops/s restat:ops/s reread:ops/s mountstat:ops/s rename1:ops/s unlink1:ops/s \
	create4:ops/s stat4:ops/s read4:ops/s rename4:ops/s unlink4:ops/s untar:files/s; do
	n=${r%%:*}
	printf '%-22s' "$n ${r##*:}"
	for t in "${targets[@]}"; do printf '%16s' "$(median "${value[$t/$n]:-}")"; done
	pt=$(median "${value[passthrough/$n]:-}")
	for t in "${targets[@]}"; do
		case $t in plain | passthrough) ;; *) printf '   %s %s' "$t" "$(ratio "$(median "${value[$t/$n]:-}")" "${pt:-0}")" ;; esac
	done
	echo
done
