# Sourced by scripts/staging: an nginx of its own between the two fleets.
# shellcheck shell=bash

balancer_conf=$staging_root/etc/nginx/nginx.conf
balancer_upstream=$staging_root/etc/nginx/conf.d/agents.conf
balancer_discovery=$staging_root/etc/nginx/conf.d/agent-discovery.conf
balancer_template=$staging_root/etc/nginx/templates/agent-discovery.conf.tpl
balancer_log=$staging_root/var/log/nginx
balancer_pid_file=$staging_root/run/nginx.pid

balancer() { "$(nginx_binary)" -e "$balancer_log/error.log" -c "$balancer_conf" "$@" 8>&-; }

# The pid file outlives a reboot, and its number may be that of another nginx by then.
balancer_runs() {
  process_is "$(balancer_pid)" nginx && tr '\0' ' ' <"/proc/$(balancer_pid)/cmdline" | grep -qF -- "-c $balancer_conf"
}

balancer_pid() { cat "$balancer_pid_file" 2>/dev/null || true; }

balancer_up() {
  nginx_up
  if [ ! -e "$balancer_conf" ]; then balancer_write; fi
  if ! balancer_runs; then
    balancer || fail "nginx did not start; its log is $balancer_log/error.log"
  fi
  balancer_waits_for version
}

balancer_write() {
  local temp
  mkdir -p "${balancer_upstream%/*}" "${balancer_template%/*}" "$balancer_log" "$staging_root/run" "$staging_root/var/tmp"
  {
    if [ "$(id -u)" = 0 ]; then printf 'user root;\n'; fi
    printf 'worker_processes 1;\npid %s;\nerror_log %s/error.log notice;\n' "$balancer_pid_file" "$balancer_log"
    printf 'events { worker_connections 512; }\nhttp {\n'
    for temp in client_body proxy fastcgi uwsgi scgi; do printf '  %s_temp_path %s;\n' "$temp" "$staging_root/var/tmp/$temp"; done
    # shellcheck disable=SC2016 # nginx's variables
    printf '  log_format traffic %s;\n' "'\$msec \$status \$upstream_addr \"\$request\"'"
    printf '  access_log %s/access.log traffic;\n  include %s/*.conf;\n' "$balancer_log" "${balancer_upstream%/*}"
    printf '  server {\n    listen 127.0.0.1:%s;\n    location / {\n' "$balancer_port"
    printf '      proxy_pass http://agents;\n      proxy_connect_timeout 2s;\n    }\n'
    printf '    location = /metrics {\n      root %s;\n      default_type text/plain;\n      access_log off;\n    }\n' \
      "$staging_root/var/lib/metrics"
    printf '    location /agents/ {\n      proxy_pass http://agent-services/;\n    }\n  }\n}\n'
  } >"$balancer_conf"
  printf '%s\n' '# Where the agents find each other.' 'upstream agent-services {' '{% for server in servers %}' '    server {{ server }};' \
    '{% endfor %}' '}' >"$balancer_template"
  balancer_deploy_green
}

balancer_deploy_green() {
  balancer_green agents >"$balancer_upstream.new"
  balancer_green agent-services >"$balancer_discovery.new"
  mv "$balancer_upstream.new" "$balancer_upstream"
  mv "$balancer_discovery.new" "$balancer_discovery"
}

# balancer_green NAME: this upstream, with the servers of green.
balancer_green() {
  local port
  printf '# Deployed: green is live.\nupstream %s {\n' "$1"
  for port in "${green_ports[@]}"; do printf '    server 127.0.0.1:%s;\n' "$port"; done
  printf '}\n'
}

# balancer_answer [PORT]: the body that nginx, or what listens on this port, answers with. Bash asks by itself, so that no other
# program is needed.
balancer_answer() {
  # shellcheck disable=SC2016 # the inner shell's variable
  timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "GET /health HTTP/1.0\r\n\r\n" >&3 && sed "1,/^\r$/d" <&3' \
    ask "${1:-$balancer_port}" 2>/dev/null 8>&-
}

# balancer_waits_for TEXT: agents need a moment after their start, each of those that nginx asks.
balancer_waits_for() {
  local tries=0 port
  for port in "${green_ports[@]}" "$balancer_port"; do
    until balancer_answer "$port" | grep -q "$1"; do
      tries=$((tries + 1))
      [ "$tries" -lt 600 ] || fail "127.0.0.1:$port does not answer as it should" "nginx's log is $balancer_log/error.log"
      sleep 0.1
    done
  done
}

balancer_status() {
  local answer side=nobody
  answer=$(balancer_answer) || { printf 'nginx    does not answer at 127.0.0.1:%s\n' "$balancer_port"; return 1; }
  case "$answer" in
    *'"version": "2.0.0"'*) side=green ;;
    *'"version": "1.0.0"'*) side=blue ;;
  esac
  printf 'nginx    serves %s at http://127.0.0.1:%s/health: %s\n' "$side" "$balancer_port" "$answer"
  [ "$side" != nobody ]
}

balancer_reset() {
  balancer_deploy_green
  balancer -s reload
  balancer_waits_for '"version": "2.0.0"'
}

balancer_down() {
  if place_is_ours && balancer_runs; then stop_process "$(balancer_pid)" nginx 10; fi
}
