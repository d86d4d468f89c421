# Sourced by scripts/staging: a PostgreSQL cluster of its own with the register of agents, as the deployment left it.
#
# Rollback comes in as a role with the rights that production would give it, and a password from a file.
# shellcheck shell=bash

postgres_dir=$staging_root/var/lib/postgresql
postgres_log=$staging_root/var/log/postgresql.log
postgres_port=${staging_ports}32
database_name=sutazai

# database_sql DATABASE ARGUMENT...: psql as the superuser, by the socket in a folder that nobody else can enter; it ends at the first
# error.
database_sql() {
  local database=$1
  shift
  PGCONNECT_TIMEOUT=5 psql --no-psqlrc --no-password --quiet --set ON_ERROR_STOP=1 "$@" \
    "postgresql:///$database?user=postgres&host=$postgres_dir&port=$postgres_port" 8>&-
}

# database_ask SQL: one value from the register's database.
database_ask() { database_sql "$database_name" --no-align --tuples-only --command "$1" </dev/null; }

database_answers() { [ "$(database_ask 'SHOW data_directory' 2>/dev/null)" = "$postgres_dir/data" ]; }

database_up() {
  local bin there
  (exec 8>&- && lock && postgres_install)
  bin=$(postgres_bin)
  mkdir -p "${postgres_log%/*}"
  postgres_create "$bin"
  if ! works_in "$(head -n 1 "$postgres_dir/data/postmaster.pid" 2>/dev/null)" "$postgres_dir/data"; then
    postgres_secure "$bin"
    postgres_start "$bin"
  fi
  there=$(database_sql postgres --no-align --tuples-only --command "SELECT 1 FROM pg_database WHERE datname = '$database_name'" </dev/null)
  if [ "$there" = 1 ] && [ -e "$staging_own/database-ready" ]; then return; fi
  if [ "$there" != 1 ]; then database_sql postgres --command "CREATE DATABASE $database_name" </dev/null; fi
  database_seed
  : >"$staging_own/database-ready"
}

# The password comes with the text, where no list of processes shows it.
database_seed() {
  {
    printf "\\\\set password '%s'\n" "$(cat "$(place_secret postgres)")"
    cat "$here/staging.d/database.sql"
  } | database_sql "$database_name" --set "agents=$staging_agents" --output /dev/null || fail "the register of agents could not be made"
}

database_status() {
  local register unlike marks=0
  database_answers || { printf 'postgres does not answer at 127.0.0.1:%s\n' "$postgres_port"; return 1; }
  register=$(database_ask "SELECT string_agg(agents || ' ' || base_version || ' ' || status, ', ' ORDER BY agents DESC)
    FROM (SELECT base_version, status, count(*) AS agents FROM agents GROUP BY 1, 2) AS register")
  unlike=$(database_ask "SELECT count(*) FROM agents FULL JOIN agents_before_deployment AS former USING (id)
    WHERE (agents.base_version, agents.status) IS DISTINCT FROM (former.base_version, former.status)")
  if [ "$(database_ask "SELECT to_regclass('rollback.ledger') IS NOT NULL")" = t ]; then
    marks=$(database_ask 'SELECT count(*) FROM rollback.ledger')
  fi
  printf 'postgres %s at 127.0.0.1:%s: %s; %s not as before the deployment, marks in the ledger: %s\n' \
    "$(database_ask 'SHOW server_version')" "$postgres_port" "$register" "$unlike" "$marks"
}

database_reset() { database_seed; }

database_down() {
  if place_is_ours; then postgres_down; fi
}
