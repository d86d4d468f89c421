# Sourced by scripts/servers: the nginx binary. Each test starts an instance of its own, on free ports
# under a temporary folder, so nothing runs between tests.
# shellcheck shell=bash

nginx_binary() {
  local candidate
  for candidate in "${ROLLBACK_TEST_NGINX:-}" "$(command -v nginx || true)" /usr/sbin/nginx; do
    if [ -x "$candidate" ]; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

nginx_version() { "$1" -v 2>&1 | sed 's/^nginx version: //'; }

nginx_up() {
  local binary
  if ! binary=$(nginx_binary); then
    install_packages "nginx" nginx
    disable_service nginx.service
    binary=$(nginx_binary) || fail "the package nginx brought no nginx"
  fi
  note "$(nginx_version "$binary") at $binary"
}

nginx_down() { :; }

nginx_status() {
  local binary
  binary=$(nginx_binary) || { printf 'nginx   is missing\n'; return 1; }
  printf 'nginx   %s at %s\n' "$(nginx_version "$binary")" "$binary"
}

nginx_env() {
  local binary
  binary=$(nginx_binary) || fail "nginx is missing" "run: scripts/servers up"
  printf 'export ROLLBACK_TEST_NGINX=%q\n' "$binary"
}
