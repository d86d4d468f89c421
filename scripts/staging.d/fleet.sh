# Sourced by scripts/staging: the two fleets, made by Docker Compose from generated files, as users make theirs.
# shellcheck shell=bash

fleet_ready=$staging_own/fleet-ready
# Compose v1 counts a service and its containers against one limit, and waits for ever when the services use it up.
fleet_limit=2048
# The engine starts a fleet fastest with few callers; Compose would start all of it at once.
fleet_callers=4

fleet_up() {
  fleet_build "$green_image" 2.0.0
  fleet_build "$blue_image" 1.0.0
  fleet_file green "$green_project" "$green_image" "${green_ports[@]}"
  fleet_file blue "$blue_project" "$blue_image" "${blue_ports[@]}"
  if [ -e "$fleet_ready" ]; then return; fi
  fleet_refuse_strangers
  note "starting $staging_agents agents on each side"
  fleet_create_and_start blue "$blue_project"
  fleet_create_and_start green "$green_project"
  fleet_wait_for_blue
  : >"$fleet_ready"
}

# A drill that starts at once must find legacy agents that can take over.
fleet_wait_for_blue() {
  local tries=0
  until [ "$(fleet_count "$blue_project" --filter health=healthy)" = "$staging_agents" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail "some legacy agents do not become healthy"
    sleep 0.5
  done
}

# What is called like ours without being ours would be changed by a drill.
fleet_refuse_strangers() {
  local project all ours
  for project in "$green_project" "$blue_project"; do
    all=$(engine ps --all --quiet --filter "label=com.docker.compose.project=$project" | wc -l)
    ours=$(fleet_ids "$project" | wc -l)
    [ "$all" = "$ours" ] || fail "the Docker Engine has a Compose project $project that is not staging's" \
      "set DOCKER_HOST to another engine, or move that project away"
  done
}

fleet_build() {
  local image=$1 version=$2 busybox context=$staging_own/images log=$staging_own/images.log owner
  if owner=$(engine image inspect --format '{{index .Config.Labels "rollback-staging"}}' "$image" 2>/dev/null); then
    [ "rollback-staging=$owner" = "$staging_label" ] || fail "the Docker Engine has an image $image that is not staging's"
    return
  fi
  busybox=$(static_busybox) || { install_packages "a static busybox" busybox-static && busybox=$(static_busybox); } ||
    fail "no static busybox was found"
  mkdir -p "$context"
  cp "$busybox" "$context/busybox"
  cp "$here/staging.d/agent.sh" "$here/staging.d/agent.Dockerfile" "$context/"
  engine build --quiet --tag "$image" --label "$staging_label" --build-arg "VERSION=$version" \
    --file "$context/agent.Dockerfile" "$context" </dev/null >"$log" 2>&1 || { cat "$log" >&2; fail "could not build $image"; }
}

# fleet_interval SIDE: each health check costs the engine a process, so a large fleet is asked less often, six checks a second on
# both sides together; most often those whose start a drill waits for.
fleet_interval() {
  local seconds=$((staging_agents / 4))
  if [ "$1" = blue ]; then seconds=$((staging_agents / 2)); fi
  printf '%s\n' "$((seconds < 2 ? 2 : seconds))"
}

# fleet_file SIDE PROJECT IMAGE PORT...: the first agents publish these ports.
fleet_file() {
  local side=$1 project=$2 image=$3 file=$staging_own/$1.yml number service
  shift 3
  [ ! -e "$file" ] || return 0
  {
    printf 'version: "2.4"\nx-agent: &agent\n  image: %s\n  restart: unless-stopped\n' "$image"
    printf '  labels: {%s: %s}\n' "${staging_label%%=*}" "${staging_label#*=}"
    printf '  healthcheck:\n    test: [CMD, /bin/wget, -q, -O, /dev/null, "http://127.0.0.1:8080/health"]\n'
    printf '    interval: %ss\n    timeout: 10s\n    retries: 3\n' "$(fleet_interval "$side")"
    printf 'networks:\n  default:\n    name: %s_default\n' "$project"
    printf '    labels: {%s: %s}\nservices:\n' "${staging_label%%=*}" "${staging_label#*=}"
    for ((number = 1; number <= staging_agents; number++)); do
      service=$(printf 'agent-%03d' "$number")
      printf '  %s:\n    <<: *agent\n    environment: {AGENT_NAME: %s, AGENT_SIDE: %s}\n' "$service" "$service" "$side"
      if [ "$#" -gt 0 ]; then
        printf '    ports: ["127.0.0.1:%s:8080"]\n' "$1"
        shift
      fi
    done
  } >"$file"
}

# fleet_create_and_start SIDE PROJECT: what `docker compose up` does, with few callers.
fleet_create_and_start() {
  local compose log=$staging_own/compose.log
  if docker compose version >/dev/null 2>&1; then compose=(docker compose); else
    command -v docker-compose >/dev/null || install_packages "Docker Compose" docker-compose
    compose=(docker-compose)
  fi
  DOCKER_HOST=unix://$engine_socket COMPOSE_PARALLEL_LIMIT=$fleet_limit COMPOSE_HTTP_TIMEOUT=300 \
    "${compose[@]}" --file "$staging_own/$1.yml" --project-name "$2" up --no-start </dev/null >"$log" 2>&1 8>&- ||
    { tail -n 20 "$log" >&2; fail "Docker Compose could not create $2"; }
  fleet_ids "$2" | fleet_docker "$fleet_callers" start || fail "containers of $2 could not be started"
}

# fleet_docker CALLERS COMMAND...: the docker command with the ids on standard input, by several callers.
fleet_docker() {
  local callers=$1
  shift
  DOCKER_HOST=unix://$engine_socket xargs --no-run-if-empty --max-procs "$callers" --max-args 8 docker "$@" >/dev/null 8>&-
}

# Every container of a project that is ours, the parked ones too: labels are copied with the rest.
fleet_ids() {
  engine ps --all --quiet --no-trunc --filter "label=$staging_label" --filter "label=com.docker.compose.project=$1"
}

fleet_count() {
  local project=$1
  shift
  engine ps --quiet --filter "label=$staging_label" --filter "label=com.docker.compose.project=$project" "$@" | wc -l
}

fleet_status() {
  local side project image parked missing=0
  for side in green blue; do
    project=$green_project
    if [ "$side" = blue ]; then project=$blue_project; fi
    parked=$(fleet_count "$project" --all --filter 'name=\.rollback-old-')
    printf '%-8s %s: %s running, %s healthy, %s parked' "$side" "$project" "$(fleet_count "$project")" \
      "$(fleet_count "$project" --filter health=healthy)" "$parked"
    for image in "$green_image" "$blue_image"; do
      printf ', %s from %s' "$(fleet_count "$project" --filter "ancestor=$image")" "$image"
    done
    printf '\n'
    [ "$(fleet_count "$project" --all)" -ge "$staging_agents" ] || missing=1
  done
  return "$missing"
}

# Legacy agents that still run are left alone: starting them is what takes time.
fleet_reset() {
  fleet_remove "$green_project"
  fleet_create_and_start green "$green_project"
  if [ "$(fleet_count "$blue_project")" != "$staging_agents" ]; then
    fleet_remove "$blue_project"
    fleet_create_and_start blue "$blue_project"
  fi
  fleet_wait_for_blue
}

fleet_remove() { fleet_ids "$1" | fleet_docker 4 rm --force --volumes || fail "containers of $1 could not be removed"; }

fleet_down() {
  local image stuck=no
  place_is_ours && [ -L "$engine_socket" ] || return 0
  docker_answers "unix://$engine_socket" >/dev/null || fail "the Docker Engine of staging does not answer, and its containers would come back with it" \
    "start the Docker Engine (\`make staging\` does, when it was its own), then run this again"
  rm -f "$fleet_ready"
  fleet_remove "$green_project"
  fleet_remove "$blue_project"
  fleet_remove_networks || { engine_restart && fleet_remove_networks; } || stuck=yes
  for image in $(engine image ls --filter "label=$staging_label" --format '{{.Repository}}:{{.Tag}}'); do
    engine image rm "$image" >/dev/null
  done
  [ "$stuck" = no ] || fail "a network of staging cannot be removed: Docker still counts a container that is gone" \
    "restart the Docker Engine, then run this again"
}

fleet_remove_networks() {
  local network all=yes
  for network in $(engine network ls --quiet --filter "label=$staging_label"); do
    fleet_remove_network "$network" || all=no
  done
  [ "$all" = yes ]
}

# A busy engine may keep a removed container's place in the network: then it has to be told.
fleet_remove_network() {
  local tries=0 left
  until engine network rm "$1" >/dev/null 2>&1; do
    for left in $(engine network inspect --format '{{range .Containers}}{{.Name}} {{end}}' "$1"); do
      engine network disconnect --force "$1" "$left" >/dev/null 2>&1 || true
    done
    tries=$((tries + 1))
    [ "$tries" -lt 25 ] || return 1
    sleep 0.2
  done
}
