# Sourced by scripts/servers: PostgreSQL, a cluster of its own on a free loopback port.
#
# A server that ROLLBACK_TEST_POSTGRES names is used as it is; its user must be a superuser. Tests that kill a
# server start one themselves, from the binaries in ROLLBACK_TEST_POSTGRES_BIN. initdb and postgres refuse root, so
# root runs them as the user postgres, in a folder that this user can reach.
#
# Whoever sources this may choose another folder, log and port: `any` is a free one.
# shellcheck shell=bash

postgres_log=$test_dir/postgres.log
postgres_port=any
if [ "$(id -u)" = 0 ]; then
  postgres_dir=${ROLLBACK_TEST_POSTGRES_DIR:-/var/tmp/rollback-tests-postgres}
else
  postgres_dir=${ROLLBACK_TEST_POSTGRES_DIR:-$test_dir/postgres}
fi

# Prints the folder with postgres, initdb and psql: the newest version's.
postgres_bin() {
  local candidate
  for candidate in "${ROLLBACK_TEST_POSTGRES_BIN:-}" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr) \
    "$(dirname "$(command -v postgres || echo /nowhere/postgres)")"; do
    if [ -x "$candidate/postgres" ] && [ -x "$candidate/initdb" ]; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

postgres_as() {
  if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

postgres_own_url() {
  [ -s "$postgres_dir/port" ] && printf 'postgresql://postgres@127.0.0.1:%s/postgres\n' "$(cat "$postgres_dir/port")"
}

postgres_version() {
  PGCONNECT_TIMEOUT=5 psql --no-psqlrc --no-password -tAc 'show server_version' "$1" 2>/dev/null </dev/null 8>&- 9>&-
}

# Prints the address of the first server that answers.
postgres_address() {
  local address
  for address in "${ROLLBACK_TEST_POSTGRES:-}" "$(postgres_own_url || true)"; do
    if [ -n "$address" ] && postgres_version "$address" >/dev/null; then
      printf '%s\n' "$address"
      return 0
    fi
  done
  return 1
}

postgres_up() {
  local bin address
  postgres_install
  if ! address=$(postgres_address); then
    bin=$(postgres_bin)
    postgres_create "$bin"
    postgres_start "$bin"
    address=$(postgres_own_url)
  fi
  note "postgres $(postgres_version "$address") at $address"
}

postgres_install() {
  if postgres_bin >/dev/null && command -v psql >/dev/null; then return; fi
  install_packages "PostgreSQL" postgresql
  disable_service postgresql.service
  postgres_bin >/dev/null || fail "the package postgresql brought no server"
}

# The superuser comes in from this machine without a password; every other role needs its own, as in production.
postgres_create() {
  [ ! -s "$postgres_dir/data/PG_VERSION" ] || return 0
  mkdir -p "$postgres_dir"
  chmod 0700 "$postgres_dir"
  if [ "$(id -u)" = 0 ]; then chown postgres: "$postgres_dir"; fi
  postgres_as test -w "$postgres_dir" || fail "the user postgres cannot reach $postgres_dir" \
    "let everybody pass through the folders above it (chmod a+x), or choose another place"
  note "creating a PostgreSQL cluster in $postgres_dir"
  postgres_as "$1/initdb" --pgdata "$postgres_dir/data" --username postgres --encoding UTF8 --locale C.UTF-8 \
    --auth-local trust --auth-host scram-sha-256 >"$postgres_log" 2>&1 8>&- 9>&- ||
    { tail -n 20 "$postgres_log" >&2; fail "initdb failed"; }
  printf '%s\n' 'local all all trust' 'host all postgres 127.0.0.1/32 trust' 'host all all 127.0.0.1/32 scram-sha-256' |
    postgres_as tee "$postgres_dir/data/pg_hba.conf" >/dev/null
}

postgres_start() {
  local bin=$1 tries=0 port=$postgres_port waited started
  while [ "$tries" -lt 5 ]; do
    if [ "$postgres_port" = any ]; then port=$((20000 + RANDOM % 10000)); fi
    postgres_as setsid "$bin/postgres" -D "$postgres_dir/data" -p "$port" -c listen_addresses=127.0.0.1 \
      -c unix_socket_directories="$postgres_dir" -c max_connections=200 </dev/null >"$postgres_log" 2>&1 8>&- 9>&- &
    started=$! waited=0
    while [ "$waited" -lt 100 ] && kill -0 "$started" 2>/dev/null; do
      if postgres_version "postgresql://postgres@127.0.0.1:$port/postgres" >/dev/null &&
        [ "$(sed -n 4p "$postgres_dir/data/postmaster.pid" 2>/dev/null)" = "$port" ]; then
        printf '%s\n' "$port" >"$postgres_dir/port"
        return 0
      fi
      sleep 0.1
      waited=$((waited + 1))
    done
    tries=$((tries + 1))
  done
  tail -n 20 "$postgres_log" >&2
  fail "postgres did not start; its log is $postgres_log"
}

# A fast shutdown is SIGINT; on SIGTERM the server would wait for its clients.
postgres_down() {
  local pid
  pid=$(head -n 1 "$postgres_dir/data/postmaster.pid" 2>/dev/null || true)
  if process_is "$pid" postgres; then
    kill -INT "$pid"
    local tenths=100
    while process_is "$pid" postgres && [ "$tenths" -gt 0 ]; do
      sleep 0.1
      tenths=$((tenths - 1))
    done
    stop_process "$pid" postgres 5
  fi
  rm -f "$postgres_dir/port"
}

postgres_status() {
  local address
  address=$(postgres_address) || { printf 'postgres does not answer\n'; return 1; }
  printf 'postgres %s at %s\n' "$(postgres_version "$address")" "$address"
}

postgres_env() {
  local address bin
  address=$(postgres_address) || fail "no PostgreSQL answers" "run: scripts/servers up"
  bin=$(postgres_bin) || fail "the PostgreSQL server's binaries are missing" "run: scripts/servers up"
  printf 'export ROLLBACK_TEST_POSTGRES=%q\nexport ROLLBACK_TEST_POSTGRES_BIN=%q\n' "$address" "$bin"
}
