# Sourced by scripts/servers: the folder, messages, packages and processes that every server needs.
# shellcheck shell=bash

root=$(cd "$here/.." && pwd)
test_dir=${ROLLBACK_TEST_DIR:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/rollback-tests}

# Whoever sources this may speak under a name of its own.
speaker=${speaker:-servers}

note() { printf '%s: %s\n' "$speaker" "$*" >&2; }

# fail MESSAGE HINT...: what is missing, then how to get it, one line each.
fail() {
  printf '%s: error: %s\n' "$speaker" "$1" >&2
  shift
  for hint in "$@"; do printf '%s:   %s\n' "$speaker" "$hint" >&2; done
  exit 1
}

# Two checkouts may set up at the same time: the second waits. Descriptor 9 is closed in every server
# that is started, so that the lock ends with this script.
lock() {
  mkdir -p "$test_dir"
  chmod 0700 "$test_dir"
  exec 9>"$test_dir/lock"
  if command -v flock >/dev/null && ! flock --wait 1800 9; then
    fail "another scripts/servers has held $test_dir/lock for half an hour"
  fi
}

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# install_packages WHAT PACKAGE...: WHAT is the missing thing, for the error of someone who is not root.
install_packages() {
  local what=$1
  shift
  can_install || fail "$what is missing" "on Debian or Ubuntu: sudo apt-get install --no-install-recommends $*" \
    "or run this as root: it installs the packages itself"
  note "$what is missing: installing $*"
  without_services apt_get "$@" || fail "apt-get could not install: $*"
}

apt_get() {
  local log=$test_dir/apt.log
  export DEBIAN_FRONTEND=noninteractive
  if ! {
    apt-get -o Acquire::Retries=3 update &&
      apt-get -o Acquire::Retries=3 install -y --no-install-recommends "$@"
  } </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    return 1
  fi
}

# Run a package installation that must not start services: nginx would take port 80. policy-rc.d is
# what invoke-rc.d and deb-systemd-invoke ask (see invoke-rc.d(8)); one that is there already is kept, unless it is our own, left
# behind by a kill. In a subshell, whose end takes it away again.
without_services() (
  policy=/usr/sbin/policy-rc.d
  ours='# Made by scripts/servers of rollback, for as long as it installs packages.'
  if [ ! -e "$policy" ] || grep -qxF "$ours" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$ours" >"$policy"
    chmod 0755 "$policy"
  fi
  "$@"
)

# A package that was installed for the tests must not start its service at the next boot either.
disable_service() {
  if [ -d /run/systemd/system ]; then systemctl disable --quiet "$@" 9>&- || true; fi
}

# process_is PID NAME: a process id from a file may belong to somebody else by now.
process_is() { [ -n "$1" ] && [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ]; }

# works_in PID FOLDER: whether the process a file names is still the one that this folder belongs to.
works_in() { [ -n "$1" ] && [ "$(readlink "/proc/$1/cwd" 2>/dev/null)" = "$(realpath -m "$2")" ]; }

# stop_process PID NAME SECONDS: SIGTERM, wait, SIGKILL.
stop_process() {
  local pid=$1 name=$2 tenths=$(($3 * 10))
  process_is "$pid" "$name" || return 0
  kill -TERM "$pid"
  while process_is "$pid" "$name" && [ "$tenths" -gt 0 ]; do
    sleep 0.1
    tenths=$((tenths - 1))
  done
  if process_is "$pid" "$name"; then
    note "$name ($pid) did not stop by itself: killing it"
    kill -KILL "$pid"
  fi
}
