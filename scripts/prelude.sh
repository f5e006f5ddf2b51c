# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: where things are, and how a script speaks.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=${DEWEATHER_DEPS:-${XDG_CACHE_HOME:-$HOME/.cache}/deweather}
name=$(basename "$0")

say() { printf '%s: %s\n' "$name" "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

# misuse MESSAGE: wrong usage, exit status 2.
misuse() {
  say "$* (see --help)"
  exit 2
}

# usage: the comment at the top of the calling script, without the marks.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  if [ "$status" != 0 ]; then
    cat "$log" >&2
    say "failed with status $status: $*"
  fi
  rm -f "$log"
  return "$status"
}

# Compilers that read Torch's headers take up to 2 GB each.
parallel_jobs() {
  local by_memory
  by_memory=$(awk '/^MemAvailable:/ { print int($2 / 2000000) }' /proc/meminfo)
  local by_cores
  by_cores=$(nproc)
  local n=$((by_memory < by_cores ? by_memory : by_cores))
  echo $((n > 1 ? n : 1))
}
