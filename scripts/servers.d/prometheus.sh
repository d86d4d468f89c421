# Sourced by scripts/servers: one Prometheus. It scrapes nothing: the tests write samples with the times that they need
# (remote write), each test under a label of its own. One alerting rule fires for what a test writes into a metric.
#
# Whoever sources this may choose another folder, port and configuration: `any` is a free port.
# shellcheck shell=bash

prometheus_dir=$test_dir/prometheus
prometheus_port=any

prometheus_binary() {
  local candidate
  for candidate in "${ROLLBACK_TEST_PROMETHEUS_SERVER:-}" "$(command -v prometheus || true)" /usr/bin/prometheus; do
    if [ -x "$candidate" ]; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

prometheus_version() { "$1" --version 2>&1 | sed -n '1s/^prometheus, version \([^ ]*\).*/\1/p'; }

prometheus_url() { printf 'http://127.0.0.1:%s' "$(cat "$prometheus_dir/port")"; }

# prometheus_receives BINARY: the option by which it takes remote writes, which was a feature to enable before 2.33.
prometheus_receives() {
  local version
  version=$(prometheus_version "$1")
  if [ -z "$version" ] || [ "$(printf '2.33.0\n%s\n' "$version" | sort -V | head -n 1)" = 2.33.0 ]; then
    printf '%s\n' --web.enable-remote-write-receiver
  else
    printf '%s\n' --enable-feature=remote-write-receiver
  fi
}

# Somebody else's server at a port that was once ours answers, too, and must not be taken for it. Ours works in its folder; what it is called is
# left to ROLLBACK_TEST_PROMETHEUS_SERVER.
prometheus_answers() {
  local pid
  [ -s "$prometheus_dir/port" ] || return 1
  pid=$(cat "$prometheus_dir/prometheus.pid" 2>/dev/null || true)
  works_in "$pid" "$prometheus_dir" || return 1
  prometheus_get /-/ready | grep -q 'Ready'
}

# prometheus_get PATH: plain HTTP, so that no client has to be installed for it.
prometheus_get() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  timeout 10 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "GET %s HTTP/1.0\r\n\r\n" "$2" >&3 && cat <&3' \
    _ "$(cat "$prometheus_dir/port")" "$1" 2>/dev/null 8>&- 9>&-
}

prometheus_up() {
  local binary
  prometheus_install
  binary=$(prometheus_binary)
  prometheus_answers || prometheus_start "$binary"
  note "prometheus $(prometheus_version "$binary") at $(prometheus_url)"
}

prometheus_install() {
  if prometheus_binary >/dev/null; then return; fi
  install_packages "prometheus" prometheus
  disable_service prometheus.service
  prometheus_binary >/dev/null || fail "the package prometheus brought no prometheus"
}

prometheus_configure() {
  mkdir -p "$prometheus_dir"
  cat >"$prometheus_dir/prometheus.yml" <<'YAML'
global: {evaluation_interval: 1s}
rule_files: [rules.yml]
# Tests write what was so for a week.
storage: {tsdb: {out_of_order_time_window: 10d}}
YAML
  cat >"$prometheus_dir/rules.yml" <<'YAML'
groups:
  - name: tests
    rules:
      - {alert: RollbackTest, expr: rollback_test_alert > 0}
YAML
}

prometheus_start() {
  local binary=$1 tries=0 port=$prometheus_port receives
  receives=$(prometheus_receives "$binary")
  prometheus_end
  rm -rf "$prometheus_dir"
  prometheus_configure
  while [ "$tries" -lt 20 ]; do
    tries=$((tries + 1))
    if [ "$prometheus_port" = any ]; then port=$((11000 + RANDOM % 20000)); fi
    printf '%s\n' "$port" >"$prometheus_dir/port"
    (
      cd "$prometheus_dir" || exit 1
      setsid "$binary" --config.file=prometheus.yml --storage.tsdb.path=data --storage.tsdb.retention.time=15d \
        --web.listen-address="127.0.0.1:$port" "$receives" --log.level=warn \
        </dev/null >prometheus.log 2>&1 8>&- 9>&- &
      printf '%s\n' "$!" >prometheus.pid
    )
    if prometheus_waits; then return 0; fi
    prometheus_end
  done
  tail -n 20 "$prometheus_dir/prometheus.log" >&2 || true
  fail "prometheus did not start; its log is $prometheus_dir/prometheus.log"
}

# Until it is ready, or has ended because somebody else listens at the port.
prometheus_waits() {
  local waited=0 pid
  pid=$(cat "$prometheus_dir/prometheus.pid")
  while [ "$waited" -lt 300 ]; do
    if prometheus_answers; then return 0; fi
    if [ ! -e "/proc/$pid" ]; then return 1; fi
    sleep 0.1
    waited=$((waited + 1))
  done
  return 1
}

prometheus_end() {
  local pid
  pid=$(cat "$prometheus_dir/prometheus.pid" 2>/dev/null || true)
  if works_in "$pid" "$prometheus_dir"; then stop_process "$pid" "$(cat "/proc/$pid/comm")" 20; fi
}

prometheus_down() { prometheus_end; }

prometheus_status() {
  local binary
  binary=$(prometheus_binary) || { printf 'prometheus is missing\n'; return 1; }
  prometheus_answers || { printf 'prometheus does not answer\n'; return 1; }
  printf 'prometheus %s at %s\n' "$(prometheus_version "$binary")" "$(prometheus_url)"
}

prometheus_env() {
  local binary
  binary=$(prometheus_binary) || fail "prometheus is missing" "run: scripts/servers up"
  prometheus_answers || fail "prometheus does not answer" "run: scripts/servers up"
  printf 'export ROLLBACK_TEST_PROMETHEUS=%q\nexport ROLLBACK_TEST_PROMETHEUS_SERVER=%q\n' "$(prometheus_url)" "$binary"
}
