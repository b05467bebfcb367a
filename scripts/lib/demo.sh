# What scripts/quickstart and scripts/demo-replication share: saying, timing, building, Debian's package index as
# real data. To be sourced, in the repository's root, with $work and $index set and `name` the script's own name.

summary=()

say() { printf '\n== %s\n' "$*"; }
die() {
  echo "$name: $*" >&2
  exit 1
}
now_ms() { echo $((${EPOCHREALTIME//[!0-9]/} / 1000)); }
# run NAME COMMAND…: runs it and keeps its time for the summary.
run() {
  local step=$1 begun
  shift
  begun=$(now_ms)
  "$@" || die "failed: $step"
  summary+=("$(printf '%-44s %7s ms' "$step" $(($(now_ms) - begun)))")
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

# --- packages and build ---

build_release() {
  mkdir -p build
  local quiet=() log=build/configure-release.log
  cmake --preset release >"$log" 2>&1 || { cat "$log" >&2; return 1; }
  if [[ ! -t 1 ]]; then quiet=(-- --quiet); fi
  cmake --build --preset release -j "$(nproc)" --target cairnd cairnctl "${quiet[@]}"
}

# Sets $bin to the release build, unless it names binaries already.
need_binaries() {
  if [[ -z $bin ]]; then
    say "packages that building needs"
    run "install packages" scripts/install-deps
    say "release build"
    echo "about 150 files, a few minutes the first time"
    run "build" build_release
    bin=build/release/bin
  fi
  [[ -x $bin/cairnd && -x $bin/cairnctl ]] || die "no cairnd and cairnctl in $bin"
}

# --- real data ---

# The largest index of Debian's main section; other archives are smaller and not everybody has them.
find_index() {
  local list
  for list in /var/lib/apt/lists/*_debian_dists_*_main_binary-*_Packages*; do
    [[ -s $list ]] && stat -c '%s %n' "$list"
  done | sort -n | tail -n 1 | cut -d ' ' -f 2-
}

# Sets $index (unless it names a file) and $items, and makes $work/Packages.2 and $work/removed.2, the catalogue's
# next edition.
need_catalogue() {
  local source
  say "real data: the Debian package index of this machine"
  if [[ -z $index ]]; then
    source=$(find_index)
    if [[ -z $source ]]; then
      echo "there is none yet: apt-get update"
      as_root apt-get update -q || die "apt-get update failed; --index FILE names another package index"
      source=$(find_index)
    fi
    [[ -n $source ]] || die "apt-get update brought no index of Debian's main section; see --index"
    index=$work/Packages
    # Plain, lz4, gz or xz: apt reads its own files.
    /usr/lib/apt/apt-helper cat-file "$source" >"$index"
    echo "source: $source, from apt-get update"
  else
    echo "source: $index"
  fi
  items=$(awk '/^Package:/ { seen[$2] = 1 } END { print length(seen) }' "$index")
  echo "$items packages, $(($(stat -c %s "$index") / 1048576)) MiB; key = package name, value = its stanza"
  ((items > 0)) || die "$index has no package"
  echo "the next edition of the catalogue, made from it:"
  /usr/bin/python3 scripts/lib/change_catalogue.py "$index" "$work/Packages.2" "$work/removed.2"
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
