# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: GPL-2.0-only
# Sourced by the tools: where things are, the base, and git and make kept from the caller's settings.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
me=${0##*/}
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES ARCH CROSS_COMPILE KBUILD_OUTPUT O \
	GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE CDPATH

die() { echo "$me: $*" >&2; exit 2; }

need() {
	local c
	for c; do
		command -v "$c" >/dev/null || die "$c is missing: run 'tools/deps' to see what to install"
	done
}

bases() { (cd "$root/patches" && for f in */BASE; do [ ! -f "$f" ] || echo "${f%/BASE}"; done); }

# use_base NAME: sets base, patches, and the BASE file's package, version, upstream, suite, and stages: those
# that 'make check' and 'make check-all' run for this base and not for all (tools/check)
use_base() {
	base=${1:?}
	patches=$root/patches/$base
	local key value all
	all=$(bases)
	grep -qxF -e "$base" <<<"$all" || die "no such base '$base': have $(paste -sd' ' <<<"$all")"
	package='' version='' upstream='' suite='' stages=''
	while IFS='=' read -r key value; do
		case $key in
		package) package=$value ;;
		version) version=$value ;;
		upstream) upstream=$value ;;
		suite) suite=$value ;;
		stages) stages=$value ;;
		'' | \#*) ;;
		*) die "patches/$base/BASE: unknown key '$key'" ;;
		esac
	done <"$patches/BASE"
	if [ -z "$package" ] || [ -z "$version" ] || [ -z "$suite" ]; then
		die "patches/$base/BASE needs package=, version= and suite="
	fi
}

# hold: build/steps/BASE and what is built from it, for this tool and those it calls
hold() {
	[ "${HELD-}" != "$base" ] || return 0
	need flock
	mkdir -p "$build/steps"
	exec 7>"$build/steps/.$base.lock"
	flock -n 7 || die "another tool is building $base here: wait for its end"
	export HELD=$base
}

# result ok|not ok TEXT: a line of the result; total: the last one, and whether nothing failed
passed=0 failed=0 skipped=0
result() {
	case $1 in
	ok) passed=$((passed + 1)) ;;
	skip) skipped=$((skipped + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
	echo "$*"
}
total() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
}

# check NAME COMMAND...: a result; of what the command says, a failure shows the first lines
check() {
	local name=$1 why
	shift
	if why=$("$@" 2>&1); then
		result ok "$base: $name"
	else
		result not ok "$base: $name: $(head -n 3 <<<"$why" | paste -sd';')"
	fi
}

# git with an identity where the caller has none, and no other personal setting
ident_name=$(git config user.name 2>/dev/null || echo nobody)
ident_email=$(git config user.email 2>/dev/null || echo nobody@localhost)
g() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null git -c user.name="$ident_name" \
		-c user.email="$ident_email" -c advice.detachedHead=false -c gc.auto=0 -c core.abbrev=12 "$@"
}

# the patches in series order
series() { sed -E 's/[[:space:]]*(#.*)?$//; s/[[:space:]].*//; /^$/d' "$1/series"; }

# subject PATCH: without [PATCH n/m], unfolded
subject() { git mailinfo /dev/null /dev/null <"$1" | sed -n 's/^Subject: //p'; }

# the sets of a series, in its order; and the patches of one set
sets() { series "$1" | sed -n 's,/.*,,p' | uniq; }
set_series() { series "$1" | awk -v set="$2/" 'index($0, set) == 1'; }

# info SET KEY: a value of patches/BASE/SET/info
info() { sed -n "s/^$2=//p" "$root/patches/$base/$1/info" 2>/dev/null | head -n 1; }

# title SET: the first line of its cover-letter.txt
title() { head -n 1 "$root/patches/$base/$1/cover-letter.txt" 2>/dev/null || :; }

# needed SET: the sets that it needs, and those that they need, in series order
needed() {
	local todo next s all=' '
	todo=$(info "$1" needs)
	while [ -n "$todo" ]; do
		next=
		for s in $todo; do
			[[ $all == *" $s "* ]] || { all+="$s "; next+=" $(info "$s" needs)"; }
		done
		todo=${next# }
	done
	sets "$root/patches/$base" | while read -r s; do [[ $all != *" $s "* ]] || echo "$s"; done
}

# the files that patches touch; and those of a series
touched_by() { [ $# -eq 0 ] || sed -nE 's,^(---|\+\+\+) [ab]/([^[:space:]]+).*,\2,p' "$@" | sort -u; }
touched() {
	local list
	mapfile -t list < <(series "$1" | sed "s,^,$1/,")
	touched_by "${list[@]}"
}

# apply_series GITDIR COMMIT DIR [SET...]: the sets (all of them) as commits on COMMIT, and a branch for each, in
# the new repository DIR, of which only the files the series touches are checked out. Prints the patch that fails. am holds
# options for git am: --3way allows for other context.
apply_series() {
	local git=$1 commit=$2 dir=$3 s list options
	shift 3
	read -ra options <<<"${am:---no-3way}"
	g clone -q --shared --no-checkout "$git" "$dir" &&
		touched "$patches" | sed 's,^,/,' >"$dir/.git/info/sparse-checkout" &&
		g -C "$dir" config core.sparseCheckout true || return
	# a file for git to leave there, should the series be empty
	[ -s "$dir/.git/info/sparse-checkout" ] || echo /Kbuild >"$dir/.git/info/sparse-checkout"
	g -C "$dir" checkout -q --detach "$commit" || return
	if [ $# -eq 0 ]; then
		mapfile -t list < <(sets "$patches")
		set -- "${list[@]}"
	fi
	for s; do
		mapfile -t list < <(set_series "$patches" "$s" | sed "s,^,$patches/,")
		g -C "$dir" am -q --no-scissors "${options[@]}" --committer-date-is-author-date "${list[@]}" \
			>"$dir/.git/am.log" 2>&1 </dev/null ||
			{ echo "$s/$(sed -n 's/^Patch failed at //p' "$dir/.git/am.log")"; return 1; }
		g -C "$dir" branch -f "$s"
	done
}

# set_tips TREE: "SET COMMIT" of the branches N-NAME below HEAD that hold commits, by ancestry
set_tips() {
	g -C "$1" for-each-ref --merged=HEAD --no-merged=base --format='%(refname:lstrip=2) %(objectname)' 'refs/heads/[0-9]*-*' |
		while read -r set commit; do
			echo "$(g -C "$1" rev-list --count "base..$commit") $set $commit"
		done | sort -n | cut -d' ' -f2-
}

# commits TREE: "SET/NNNN COMMIT" of each patch up to refs/tip, and "edited/NNNN COMMIT" of what is in no set
commits() {
	local set tip from=base
	while read -r set tip; do
		g -C "$1" rev-list --reverse "$from..$tip" | awk -v set="$set" '{ printf "%s/%04d %s\n", set, NR, $0 }'
		from=$tip
	done < <(set_tips "$1"; echo edited refs/tip)
}

# format_patches REPOSITORY FORMAT-PATCH-ARGUMENT...: as they lie in patches/, and in build/carry/
format_patches() {
	g -C "$1" format-patch -q --zero-commit --no-signature --no-numbered --no-renames "${@:2}"
}

# write_patches TREE DIR: the sets of the tree as patches, and their series
write_patches() {
	local set tip from=base
	while read -r set tip; do
		format_patches "$1" -o "$2/$set" "$from..$tip"
		(cd "$2" && printf '%s\n' "$set"/*.patch) >>"$2/series"
		from=$tip
	done < <(set_tips "$1")
}

# state TREE: its sets and what is checked out; edited TREE: is that, or what lies there, other than what was made or exported?
state() {
	g -C "$1" for-each-ref --format='%(refname) %(objectname)' 'refs/heads/[0-9]*-*'
	g -C "$1" rev-parse HEAD
}
edited() {
	[ "$(state "$1")" != "$(cat "$1/.git/made" 2>/dev/null)" ] || [ -n "$(g -C "$1" status --porcelain)" ]
}

# tip_of TREE: the commit of what lies there, which is HEAD, or has on HEAD what is not committed. It is refs/tip, too.
tip_of() {
	local commit
	commit=$(g -C "$1" rev-parse HEAD)
	if [ -n "$(g -C "$1" status --porcelain)" ]; then
		local -x GIT_INDEX_FILE
		GIT_INDEX_FILE=$(mktemp "$1/.git/tip.XXXXXX")
		cp "$1/.git/index" "$GIT_INDEX_FILE"
		commit=$(
			g -C "$1" add -A
			export GIT_{AUTHOR,COMMITTER}_{NAME,EMAIL}=tip GIT_{AUTHOR,COMMITTER}_DATE='1700000000 +0000'
			g -C "$1" commit-tree -p HEAD -m 'what is not committed' -m 'Changes in the work tree.' "$(g -C "$1" write-tree)"
		)
		rm -f "$GIT_INDEX_FILE"
	fi
	g -C "$1" update-ref refs/tip "$commit"
	echo "$commit"
}

# stack TREE DIR: the series that is tested, as patches in DIR: that of patches/BASE, or of an edited tree
stack() {
	if ! edited "$1"; then
		(cd "$patches" && { echo series; series .; } | cpio -pdm --quiet "$2")
		return
	fi
	tip_of "$1" >/dev/null
	write_patches "$1" "$2"
	local last
	last=$(set_tips "$1" | tail -n 1 | cut -d' ' -f2)
	format_patches "$1" -o "$2/edited" "${last:-base}..refs/tip"
	[ ! -d "$2/edited" ] || (cd "$2" && printf '%s\n' edited/*.patch) >>"$2/series"
}

# maintainers_snippet REPOSITORY BASE HEAD: the lines the series adds to MAINTAINERS
maintainers_snippet() {
	g -C "$1" diff "$2" "$3" -- MAINTAINERS | sed -n '/^+++/d; s/^+//p'
}

# the compiler, behind ccache where there is one
ccache=''
if command -v ccache >/dev/null; then
	ccache='ccache '
	export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
fi
cc=${ccache}gcc

# what all who build on UML ask kunit.py for: the configuration, and how to make it
um=(--kunitconfig=drivers/gpu/drm/virtio/tests --kconfig_add CONFIG_MODULES=y)
um_make=(--jobs="$(nproc)" --make_options "CC=$cc")

# splats LOG: what a kernel has reported that is no test result. 6.12's UML warns once by itself, at boot; and the base's
# virtio_gpu_init() looks without a lock for what the answers to its questions leave.
splat='WARNING: |BUG: |INFO: (possible|suspicious|task|trying|rcu|lockdep)|UBSAN: |DEBUG_LOCKS_WARN_ON|Oops|Kernel panic'
splat="$splat|general protection fault|list_(add|del) corruption|refcount_t: |sleeping function called|circular locking"
splats() {
	grep -aE "$splat" "$1" |
		grep -avE 'WARNING: .* at [^ ]*arch/um/drivers/virt-pci\.c:' |
		grep -avE 'KCSAN: data-race in (virtio_gpu_cmd_get_[a-z_]+_cb / )?virtio_gpu_init' || :
}

# added TREE FILE: the numbers of the lines that the series adds to the file
added() {
	g -C "$1" diff -U0 base tip -- "$2" |
		sed -nE 's/^@@ -[^ ]+ \+([0-9]+)(,([0-9]+))? @@.*/\1 \3/p' |
		awk '{ n = NF > 1 ? $2 : 1; for (i = 0; i < n; i++) print $1 + i }'
}

# debian_mirror: that of the main archive that apt uses on this machine, or nothing
debian_mirror() {
	# shellcheck disable=SC2016 # apt's variables
	apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 2>/dev/null |
		awk '$1 == "Debian" && $2 !~ /-/ && !uri { uri = $3 } END { print uri }'
}

# For those that compile the driver in $out: what it needs; driver_reason NAME: the error in $out/NAME.out; driver_warnings NAME:
# what it warns of, without line numbers, to $out/NAME.warnings; driver_result NAME TITLE COMMAND...: a result. A warning that is
# not in $out/base.warnings is a failure.
driver_config=(64BIT=y SMP=y PCI=y DEBUG_FS=y DEBUG_KERNEL=y PROVE_LOCKING=y VIRTIO_MENU=y VIRTIO_PCI=y
	DRM=y DRM_VIRTIO_GPU=y DRM_VIRTIO_GPU_KMS=y)
# shellcheck disable=SC2154 # the caller's
driver_reason() { grep -m1 -E 'error|ERROR|\*\*\*' "$out/$1.out" || tail -n 1 "$out/$1.out"; }
driver_warnings() {
	grep -E '(warning|error|note):' "$out/$1.out" | sed -E 's/:[0-9]+(:[0-9]+)?:/:/' | sort >"$out/$1.warnings" || :
}
driver_result() {
	local name=$1 title=$2 new
	shift 2
	if ! "$@"; then
		result not ok "$title: does not compile: $(driver_reason "$name")"
	elif new=$(comm -13 "$out/base.warnings" "$out/$name.warnings" | head -n 3) && [ -n "$new" ]; then
		result not ok "$title: warns: $(paste -sd';' <<<"$new")"
	else
		result ok "$title"
	fi
}

# verdicts LOG: "suite/case pass|fail|skip" for each case in the log
verdicts() {
	awk '/^    # Subtest: / { suite = $NF ~ /^virtio_gpu_/ ? substr($NF, 12) : "" }
		suite && /^    (not )?ok [0-9]+ / {
			v = $0 ~ /# SKIP/ ? "skip" : $1 == "ok" ? "pass" : "fail"
			print suite "/" ($1 == "ok" ? $3 : $4), v
		}' "$1"
}

# without_suite SOURCE SUITE: take it out of the tests there
without_suite() {
	rm -f "$1/drivers/gpu/drm/virtio/tests/$2_kunit.c"
	sed -i "s/\b$2_kunit\.o//" "$1/drivers/gpu/drm/virtio/tests/Makefile"
}

# uml_build SOURCE OUT LOG: OUT/linux, for UML, with the driver and its tests, without the suites that do not compile
uml_build() {
	local suite bad
	while ! (cd "$1" && tools/testing/kunit/kunit.py build --build_dir="$2" "${um[@]}" "${um_make[@]}") >"$3" 2>&1 </dev/null; do
		bad=$(sed -nE 's,.*/tests/([a-z0-9_]+)_kunit\.o(\] Error|: in function).*,\1,p' "$3" | sort -u)
		[ -n "$bad" ] || return 1
		for suite in $bad; do
			[ -f "$1/drivers/gpu/drm/virtio/tests/${suite}_kunit.c" ] || return 1
			without_suite "$1" "$suite"
		done
	done
}
build_error() { grep -m1 -E 'error:|undefined reference' "$1" || tail -n 1 "$1"; }

# uml_case LINUX DIR CASE: run one "suite/case", the log is DIR/suite.case.log. Prints "suite/case VERDICT", which is
# pass, fail (which a report of the kernel is, too), skip, hang, crash, or none if there is no such case. TIMEOUT: seconds.
uml_case() {
	local log=$2/${3/\//.}.log rc=0 v
	timeout -k 5 "${TIMEOUT:-120}" "$1" mem=1G console=tty kunit_shutdown=halt \
		"kunit.filter_glob=virtio_gpu_${3/\//.}" >"$log" 2>&1 </dev/null || rc=$?
	v=$(verdicts "$log" | sed 's/.* //')
	[ $rc -ne 124 ] && [ $rc -ne 137 ] || v=hang
	[ "$v" != pass ] || [ -z "$(splats "$log")" ] || v=fail
	[ -n "$v" ] || ! grep -q "# Subtest: virtio_gpu_${3%%/*}$" "$log" || v=crash
	echo "$3 ${v:-none}"
}
# uml_cases LINUX DIR <CASES: each in a kernel of its own
uml_cases() {
	export -f uml_case verdicts splats
	export splat
	# shellcheck disable=SC2016 # the inner shell's
	xargs -r -I CASE -P "$(nproc)" bash -c 'uml_case "$@"' sh "$1" "$2" CASE
}
