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

# The superuser's address at a port. A cluster that an older version of this script has started has no password until its next start.
postgres_url() {
  local password
  password=$(cat "$postgres_dir/password" 2>/dev/null || true)
  printf 'postgresql://postgres%s@127.0.0.1:%s/postgres\n' "${password:+:$password}" "$1"
}

postgres_own_url() {
  [ -s "$postgres_dir/port" ] && postgres_url "$(cat "$postgres_dir/port")"
}

# An address without what is secret in it.
postgres_shown() {
  printf '%s\n' "$1" | sed 's|//\([^:@/]*\):[^@/]*@|//\1@|'
}

# The list of processes shows arguments to everybody, so the password of an address goes another way.
postgres_version() {
  PGPASSWORD=$(printf '%s\n' "$1" | sed -n 's|^[a-z]*://[^:@/]*:\([^@/]*\)@.*|\1|p') PGCONNECT_TIMEOUT=5 \
    psql --no-psqlrc --no-password -tAc 'show server_version' "$(postgres_shown "$1")" 2>/dev/null </dev/null 8>&- 9>&-
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
    postgres_secure "$bin"
    postgres_start "$bin"
    address=$(postgres_own_url)
  fi
  note "postgres $(postgres_version "$address") at $(postgres_shown "$address")"
}

postgres_install() {
  if postgres_bin >/dev/null && command -v psql >/dev/null; then return; fi
  install_packages "PostgreSQL" postgresql
  disable_service postgresql.service
  postgres_bin >/dev/null || fail "the package postgresql brought no server"
}

# The superuser comes in from this machine without a password, unless it is given one; every other role needs its own, as in production.
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

# Gives the superuser a random password, once, and lets nobody come in over TCP without one. The socket is in a folder that nobody else can enter.
postgres_secure() {
  local password
  [ ! -s "$postgres_dir/password" ] || return 0
  password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
  printf "ALTER ROLE postgres PASSWORD '%s'\n" "$password" |
    postgres_as "$1/postgres" --single -D "$postgres_dir/data" -c password_encryption=scram-sha-256 postgres >"$postgres_log" 2>&1 8>&- 9>&- &&
    # It goes on after an error, and ends well.
    ! grep -q 'ERROR:' "$postgres_log" ||
    { tail -n 20 "$postgres_log" >&2; fail "the superuser of $postgres_dir got no password"; }
  printf '%s\n' 'local all all trust' 'host all all 127.0.0.1/32 scram-sha-256' |
    postgres_as tee "$postgres_dir/data/pg_hba.conf" >/dev/null
  (umask 077 && printf '%s\n' "$password" >"$postgres_dir/password")
}

postgres_start() {
  local bin=$1 tries=0 port=$postgres_port waited started
  while [ "$tries" -lt 5 ]; do
    if [ "$postgres_port" = any ]; then port=$((20000 + RANDOM % 10000)); fi
    postgres_as setsid "$bin/postgres" -D "$postgres_dir/data" -p "$port" -c listen_addresses=127.0.0.1 \
      -c unix_socket_directories="$postgres_dir" -c max_connections=200 </dev/null >"$postgres_log" 2>&1 8>&- 9>&- &
    started=$! waited=0
    while [ "$waited" -lt 100 ] && kill -0 "$started" 2>/dev/null; do
      if postgres_version "$(postgres_url "$port")" >/dev/null &&
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
  if works_in "$pid" "$postgres_dir/data"; then
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
  printf 'postgres %s at %s\n' "$(postgres_version "$address")" "$(postgres_shown "$address")"
}

postgres_env() {
  local address bin
  address=$(postgres_address) || fail "no PostgreSQL answers" "run: scripts/servers up"
  bin=$(postgres_bin) || fail "the PostgreSQL server's binaries are missing" "run: scripts/servers up"
  printf 'export ROLLBACK_TEST_POSTGRES=%q\nexport ROLLBACK_TEST_POSTGRES_BIN=%q\n' "$address" "$bin"
}
