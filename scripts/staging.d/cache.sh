# Sourced by scripts/staging: Redis. The metrics are in a cluster of three masters; the single server holds the same keys and
# stands beside, so that a drill that reaches the wrong server is seen.
#
# Rollback comes in as a user that may do what deleting these keys needs, with a password from a file.
# shellcheck shell=bash

redis_dir=$staging_root/var/lib/redis
redis_single=$redis_dir/single
redis_cluster=("$redis_dir/node-1" "$redis_dir/node-2" "$redis_dir/node-3")
redis_single_port=${staging_ports}79
redis_cluster_ports=("${staging_ports}70" "${staging_ports}71" "${staging_ports}72")
redis_bus_ports=("${staging_ports}73" "${staging_ports}74" "${staging_ports}75")
cache_pattern='metrics:base-agent-v2:*'
cache_rights='+info +scan +unlink +get +exists +cluster|slots +asking'

cache_up() {
  local binary node
  (exec 8>&- && lock && redis_install)
  binary=$(redis_binary)
  if ! redis_answers "$redis_single"; then
    redis_make_single "$binary"
    cache_seed "$redis_single"
  fi
  if ! redis_cluster_answers; then
    redis_make_cluster "$binary"
    for node in "${redis_cluster[@]}"; do cache_seed "$node"; done
  fi
}

# cache_seed FOLDER: a node of a cluster keeps the keys of its own slots, and refuses the others.
cache_seed() {
  local port hash
  port=$(cat "$1/port")
  hash=$(tr -d '\n' <"$(place_secret redis)" | sha256sum)
  {
    printf 'FLUSHALL\r\nACL SETUSER rollback reset on #%s ~%s %s\r\n' "${hash%% *}" "$cache_pattern" "$cache_rights"
    cache_keys
  } | redis-cli -p "$port" --pipe >"$1/seed.log" 2>&1 8>&- || true
  [ "$(redis_at "$1" dbsize)" -gt 0 ] || { tail -n 5 "$1/seed.log" >&2; fail "the Redis at 127.0.0.1:$port takes no keys"; }
}

# The enhanced agents' metrics, and what must stay: other metrics, sessions, and names that are only like the pattern.
cache_keys() {
  awk -v agents="$staging_agents" 'function set(key) { printf "SET %s %d\r\n", key, ++count }
    BEGIN {
      for (agent = 1; agent <= agents; agent++) {
        for (minute = 1; minute <= 20; minute++) set(sprintf("metrics:base-agent-v2:agent-%03d:minute-%02d", agent, minute))
        for (minute = 1; minute <= 5; minute++) set(sprintf("metrics:base-agent:agent-%03d:minute-%02d", agent, minute))
      }
      for (session = 1; session <= 1000; session++) set(sprintf("session:%04d", session))
      set("metrics:base-agent-v2"); set("metrics:base-agent-v20:agent-001:minute-01"); set("old:metrics:base-agent-v2:agent-001:minute-01")
    }'
}

# cache_counts FOLDER...: how many keys the pattern has there, and how many others.
cache_counts() {
  local folder
  for folder in "$@"; do redis_at "$folder" --scan; done |
    awk '/^metrics:base-agent-v2:/ { metrics++ } END { printf "%d metrics of the enhanced agents and %d other keys", metrics, NR - metrics }'
}

cache_status() {
  if ! redis_answers "$redis_single" || ! redis_cluster_answers; then
    printf 'redis    does not answer, or its cluster is not whole; see %s\n' "$redis_dir"
    return 1
  fi
  printf 'redis    %s, %s masters at %s: %s\n' "$(redis_version "$(redis_binary)")" "${#redis_cluster[@]}" "$(redis_cluster_urls)" \
    "$(cache_counts "${redis_cluster[@]}")"
  printf 'redis    one server beside at %s: %s\n' "$(redis_url "$redis_single")" "$(cache_counts "$redis_single")"
}

cache_reset() {
  local folder
  for folder in "$redis_single" "${redis_cluster[@]}"; do cache_seed "$folder"; done
}

cache_down() {
  if place_is_ours; then redis_down; fi
}
