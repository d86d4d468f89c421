# Sourced by scripts/servers: one Redis server, and a cluster of three masters. Nothing is kept on disk.
#
# Whoever sources this may choose other folders and ports: `any` is a free one. Without a port of its own, a node's bus listens
# 10,000 above its port.
# shellcheck shell=bash

redis_dir=$test_dir/redis
redis_single=$redis_dir/single
redis_cluster=("$redis_dir/node-1" "$redis_dir/node-2" "$redis_dir/node-3")
redis_single_port=any
redis_cluster_ports=(any any any)
redis_bus_ports=()

redis_binary() {
  local candidate
  for candidate in "${ROLLBACK_TEST_REDIS_SERVER:-}" "$(command -v redis-server || true)" /usr/bin/redis-server; do
    if [ -x "$candidate" ]; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

redis_version() { "$1" --version | sed 's/^Redis server v=\([^ ]*\).*/\1/'; }

# redis_at FOLDER COMMAND...: asks the instance that lives there.
redis_at() {
  local folder=$1
  shift
  [ -s "$folder/port" ] || return 1
  timeout 10 redis-cli -p "$(cat "$folder/port")" "$@" 2>/dev/null 8>&- 9>&-
}

# Somebody else's server at a port that was once ours answers, too, and must not be taken for it.
redis_answers() { redis_at "$1" config get dir | grep -qxF "$1"; }

redis_cluster_answers() {
  local node
  for node in "${redis_cluster[@]}"; do
    redis_at "$node" cluster info | grep -q '^cluster_state:ok' || return 1
  done
}

redis_up() {
  local binary
  redis_install
  binary=$(redis_binary)
  redis_answers "$redis_single" || redis_make_single "$binary"
  redis_cluster_answers || redis_make_cluster "$binary"
  note "redis $(redis_version "$binary") at $(redis_url "$redis_single"), cluster $(redis_cluster_urls)"
}

redis_install() {
  if redis_binary >/dev/null && command -v redis-cli >/dev/null; then return; fi
  install_packages "redis-server" redis-server
  disable_service redis-server.service
  redis_binary >/dev/null || fail "the package redis-server brought no redis-server"
}

# redis_start BINARY FOLDER PORT [ARGUMENT...]: the folder's file `port` names the port that it got.
redis_start() {
  local binary=$1 folder=$2 wanted=$3 tries=0 port
  shift 3
  mkdir -p "$folder"
  while [ "$tries" -lt 20 ]; do
    tries=$((tries + 1))
    # The bus of a cluster listens 10,000 above, and both stay below the ports that the kernel gives away.
    port=$wanted
    if [ "$wanted" = any ]; then port=$((11000 + RANDOM % 10000)); fi
    printf '%s\n' "$port" >"$folder/port"
    "$binary" --daemonize yes --dir "$folder" --pidfile "$folder/redis.pid" --logfile "$folder/redis.log" \
      --bind 127.0.0.1 --port "$port" --save '' --appendonly no "$@" </dev/null >"$folder/start.log" 2>&1 8>&- 9>&- || continue
    if redis_waits_for "$folder"; then return 0; fi
    redis_end "$folder"
  done
  tail -n 20 "$folder/start.log" "$folder/redis.log" >&2 || true
  fail "redis-server did not start; its log is $folder/redis.log"
}

redis_waits_for() {
  local waited=0
  while [ "$waited" -lt 50 ]; do
    if redis_answers "$1"; then return 0; fi
    sleep 0.1
    waited=$((waited + 1))
  done
  return 1
}

redis_make_single() {
  redis_end "$redis_single"
  redis_start "$1" "$redis_single" "$redis_single_port"
}

redis_make_cluster() {
  local binary=$1 index node bus addresses=() waited=0
  for index in "${!redis_cluster[@]}"; do
    node=${redis_cluster[index]} bus=()
    if [ -n "${redis_bus_ports[index]:-}" ]; then bus=(--cluster-port "${redis_bus_ports[index]}"); fi
    redis_end "$node"
    rm -rf "$node"
    redis_start "$binary" "$node" "${redis_cluster_ports[index]}" --cluster-enabled yes --cluster-node-timeout 5000 "${bus[@]}"
    addresses+=("127.0.0.1:$(cat "$node/port")")
  done
  redis-cli --cluster create "${addresses[@]}" --cluster-yes </dev/null >"$redis_dir/create.log" 2>&1 8>&- 9>&- ||
    { tail -n 20 "$redis_dir/create.log" >&2; fail "redis-cli could not make a cluster"; }
  until redis_cluster_answers; do
    sleep 0.2
    waited=$((waited + 1))
    [ "$waited" -lt 100 ] || fail "the Redis cluster did not become whole; see $redis_dir"
  done
}

redis_end() {
  local pid
  pid=$(cat "$1/redis.pid" 2>/dev/null || true)
  if works_in "$pid" "$1"; then stop_process "$pid" redis-server 10; fi
}

redis_url() { printf 'redis://127.0.0.1:%s' "$(cat "$1/port")"; }

redis_cluster_urls() {
  local node urls=()
  for node in "${redis_cluster[@]}"; do urls+=("$(redis_url "$node")"); done
  (IFS=,; printf '%s' "${urls[*]}")
}

redis_down() {
  local folder
  for folder in "$redis_single" "${redis_cluster[@]}"; do redis_end "$folder"; done
}

redis_status() {
  local binary
  binary=$(redis_binary) || { printf 'redis   is missing\n'; return 1; }
  redis_answers "$redis_single" || { printf 'redis   does not answer\n'; return 1; }
  redis_cluster_answers || { printf 'redis   the cluster is not whole\n'; return 1; }
  printf 'redis   %s at %s, cluster %s\n' "$(redis_version "$binary")" "$(redis_url "$redis_single")" "$(redis_cluster_urls)"
}

redis_env() {
  local binary
  binary=$(redis_binary) || fail "redis-server is missing" "run: scripts/servers up"
  redis_answers "$redis_single" && redis_cluster_answers || fail "Redis does not answer" "run: scripts/servers up"
  printf 'export ROLLBACK_TEST_REDIS=%q\nexport ROLLBACK_TEST_REDIS_CLUSTER=%q\nexport ROLLBACK_TEST_REDIS_SERVER=%q\n' \
    "$(redis_url "$redis_single")" "$(redis_cluster_urls)" "$binary"
}
