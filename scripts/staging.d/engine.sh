# Sourced by scripts/staging: the Docker Engine, found or started by scripts/servers.
#
# Its socket gets a second name inside the folder, and the environment file names that one: a drill can reach this engine only,
# whatever DOCKER_HOST says.
# shellcheck shell=bash

engine_socket=$staging_root/run/docker.sock
engine_started=$staging_own/engine-started-here

engine() { docker_at "unix://$engine_socket" "$@"; }

engine_up() {
  local address
  if ! docker_address >/dev/null; then
    : >"$engine_started"
    (exec 8>&- && lock && docker_engine_up)
  fi
  address=$(docker_address) || fail "no Docker Engine answers"
  [[ $address == unix://* ]] || fail "the Docker Engine at $address has no unix socket on this machine" \
    "staging publishes its agents on loopback, so it needs an engine here"
  mkdir -p "$staging_root/run"
  ln -sfn "${address#unix://}" "$engine_socket"
}

engine_status() {
  local version
  version=$(docker_answers "unix://$engine_socket") || { printf 'engine   does not answer at %s\n' "$engine_socket"; return 1; }
  printf 'engine   Docker %s at %s\n' "$version" "$(readlink "$engine_socket")"
}

engine_reset() { :; }

# Docker 20.10 may go on counting a container that is gone until it is started anew. Only an engine that staging has started, or that
# ROLLBACK_STAGING_ALONE says is used by nobody else, and that nobody else has containers on.
engine_restart() {
  [ -e "$engine_started" ] || [ -n "${ROLLBACK_STAGING_ALONE:-}" ] || return 1
  (
    exec 8>&-
    lock
    local others pid
    others=$(engine ps --all --quiet) && [ -z "$others" ] || exit 1
    pid=$(cat "$docker_pid_file" 2>/dev/null) && process_is "$pid" dockerd || exit 1
    note "the Docker Engine still counts a container that is gone: starting it anew"
    stop_process "$pid" dockerd 30
    if process_is "$pid" dockerd; then exit 1; fi
    docker_start
  )
}

# An engine that staging started ends with it, unless somebody else has put containers on it meanwhile.
engine_down() {
  [ -e "$engine_started" ] || return 0
  local others= address=unix://$engine_socket
  # A start that was broken off has made no link, and the engine may answer by now, or never.
  if [ ! -L "$engine_socket" ]; then address=unix://$docker_socket; fi
  if [ ! -L "$engine_socket" ] && ! docker_answers "$address" >/dev/null; then
    docker_down
    return
  fi
  others=$(docker_at "$address" ps --all --quiet) || fail "the Docker Engine does not say which containers it has" "run this again when it answers"
  if [ -z "$others" ]; then docker_down; else note "the Docker Engine has other containers: it stays"; fi
}
