# Sourced by scripts/staging: Prometheus and Alertmanager. What is measured stands in a text file that nginx serves at /metrics: a drill writes
# there what the agents would say, and a second later Prometheus knows it.
# shellcheck shell=bash

prometheus_dir=$staging_root/var/lib/prometheus
prometheus_port=${staging_ports}90
monitoring_dir=$staging_root/var/lib/alertmanager
monitoring_port=${staging_ports}94
monitoring_metrics=$staging_root/var/lib/metrics/metrics

# In place of that of the tests' server, which scrapes nothing.
prometheus_configure() {
  mkdir -p "$prometheus_dir"
  cat >"$prometheus_dir/prometheus.yml" <<YAML
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - {job_name: agents, static_configs: [{targets: ["127.0.0.1:$balancer_port"]}]}
alerting:
  alertmanagers: [{static_configs: [{targets: ["127.0.0.1:$monitoring_port"]}]}]
YAML
  cat >"$prometheus_dir/rules.yml" <<'YAML'
groups:
  - name: agents
    rules:
      - alert: OllamaDegraded
        expr: ollama_alert > 0
        annotations: {summary: The agents say that something is wrong}
YAML
}

monitoring_up() {
  (exec 8>&- && lock && prometheus_install && monitoring_install)
  [ -e "$monitoring_metrics" ] || monitoring_seed
  prometheus_answers || prometheus_start "$(prometheus_binary)"
  monitoring_answers || monitoring_start
  monitoring_waits
}

monitoring_binary() { command -v prometheus-alertmanager || command -v alertmanager; }

monitoring_install() {
  if monitoring_binary >/dev/null; then return; fi
  install_packages "Alertmanager" prometheus-alertmanager
  disable_service prometheus-alertmanager.service
  monitoring_binary >/dev/null || fail "the package prometheus-alertmanager brought no Alertmanager"
}

# All as it should be, as in the sandbox.
monitoring_seed() {
  mkdir -p "${monitoring_metrics%/*}"
  cp "$root/src/sandbox/world/metrics.prom" "$monitoring_metrics.new"
  mv "$monitoring_metrics.new" "$monitoring_metrics"
}

monitoring_pid() { cat "$monitoring_dir/alertmanager.pid" 2>/dev/null || true; }

monitoring_answers() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  works_in "$(monitoring_pid)" "$monitoring_dir" &&
    timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "GET /-/ready HTTP/1.0\r\n\r\n" >&3 && cat <&3' \
      _ "$monitoring_port" 2>/dev/null 8>&- | grep -q OK
}

# Nobody is told: alerts are there to be asked for.
monitoring_start() {
  local tries=0
  monitoring_end
  mkdir -p "$monitoring_dir"
  printf 'route: {receiver: nobody}\nreceivers: [{name: nobody}]\n' >"$monitoring_dir/alertmanager.yml"
  (
    cd "$monitoring_dir" || exit 1
    setsid "$(monitoring_binary)" --config.file=alertmanager.yml --storage.path=data --cluster.listen-address= \
      --web.listen-address="127.0.0.1:$monitoring_port" </dev/null >alertmanager.log 2>&1 8>&- 9>&- &
    printf '%s\n' "$!" >alertmanager.pid
  )
  until monitoring_answers; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || fail "Alertmanager did not start; its log is $monitoring_dir/alertmanager.log"
    sleep 0.1
  done
}

monitoring_end() {
  local pid
  pid=$(monitoring_pid)
  if works_in "$pid" "$monitoring_dir"; then stop_process "$pid" "$(cat "/proc/$pid/comm")" 20; fi
}

# monitoring_count QUERY: how many series Prometheus finds now; the query as it stands in an address.
monitoring_count() {
  local number
  number=$(prometheus_get "/api/v1/query?query=count($1)" | sed -n 's/^.*"value":\[[^,]*,"\([0-9]*\)"\].*$/\1/p')
  printf '%s' "${number:-0}"
}

monitoring_series() { monitoring_count '%7B__name__%3D~%22ollama_.*%22%7D'; }

# Until what stands in the file has been read for the first time.
monitoring_waits() {
  local tries=0
  while [ "$(monitoring_series)" = 0 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || fail "Prometheus reads nothing from http://127.0.0.1:$balancer_port/metrics"
    sleep 0.2
  done
}

monitoring_status() {
  prometheus_answers || { printf 'metrics  Prometheus does not answer; see %s\n' "$prometheus_dir"; return 1; }
  monitoring_answers || { printf 'metrics  Alertmanager does not answer; see %s\n' "$monitoring_dir"; return 1; }
  printf 'metrics  Prometheus %s at %s, Alertmanager at http://127.0.0.1:%s: %s series of the agents, %s alerts firing\n' \
    "$(prometheus_version "$(prometheus_binary)")" "$(prometheus_url)" "$monitoring_port" "$(monitoring_series)" \
    "$(monitoring_count 'ALERTS%7Balertstate%3D%22firing%22%7D')"
}

monitoring_reset() { monitoring_seed; }

monitoring_down() {
  place_is_ours || return 0
  monitoring_end
  prometheus_down
}
