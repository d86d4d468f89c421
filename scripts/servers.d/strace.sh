# Sourced by scripts/servers: strace, with which a test watches what the program makes durable before it
# changes something. Nothing runs between tests.
# shellcheck shell=bash

strace_up() {
  command -v strace >/dev/null || install_packages "strace" strace
  note "$(strace_version) at $(command -v strace)"
}

strace_down() { :; }

strace_status() {
  command -v strace >/dev/null || { printf 'strace  is missing\n'; return 1; }
  printf 'strace  %s\n' "$(strace_version)"
}

strace_env() { command -v strace >/dev/null || fail "strace is missing" "run: scripts/servers up"; }

strace_version() { strace --version | sed -n '1s/^strace -- version //p'; }
