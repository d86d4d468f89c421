# Sourced by scripts/servers: Docker Engine, and the test images.
#
# An engine that answers (ROLLBACK_TEST_DOCKER, DOCKER_HOST, the standard socket) is used as it is.
# Otherwise root gets one of its own, started by hand: no service manager is needed. No registry is
# needed either: the images are built FROM scratch around a static busybox.
# shellcheck shell=bash

docker_dir=$test_dir/docker
docker_socket=$docker_dir/docker.sock
docker_pid_file=$docker_dir/docker.pid
docker_log=$docker_dir/dockerd.log
docker_images=(agent:1.0.0 agent:2.0.0 stubborn:1.0.0 broken:1.0.0)

docker_candidates() {
  printf '%s\n' "${ROLLBACK_TEST_DOCKER:-}" "${DOCKER_HOST:-}" unix:///var/run/docker.sock "unix://$docker_socket" |
    grep -v '^$'
}

# The classic builder is in every engine, the other one needs a plugin.
docker_at() {
  local address=$1
  shift
  DOCKER_BUILDKIT=0 DOCKER_CLI_HINTS=false docker --host "$address" "$@" 9>&-
}

docker_answers() { command -v docker >/dev/null && timeout 20 docker --host "$1" version --format '{{.Server.Version}}' 2>/dev/null 9>&-; }

# Prints the address of the first engine that answers.
docker_address() {
  local address
  while read -r address; do
    if docker_answers "$address" >/dev/null; then
      printf '%s\n' "$address"
      return 0
    fi
  done < <(docker_candidates)
  return 1
}

docker_up() {
  local address
  docker_engine_up
  address=$(docker_address) || fail "no Docker Engine answers"
  docker_build_images "$address"
  note "docker $(docker_answers "$address") at $address"
}

# The engine alone, without images.
docker_engine_up() {
  docker_address >/dev/null && return
  docker_install
  docker_address >/dev/null || docker_start
}

docker_install() {
  if ! command -v dockerd >/dev/null || ! command -v iptables >/dev/null; then
    install_packages "a Docker Engine that answers" docker.io iptables
    disable_service docker.service docker.socket containerd.service
  fi
  # From Debian 13 on the command line is a package of its own.
  command -v docker >/dev/null || install_packages "the docker command" docker-cli
}

# What a machine's kernel offers differs: firewall rules may be missing, and overlayfs may be refused
# on top of itself. Each attempt asks for less; containers still reach each other and publish ports.
docker_start() {
  [ "$(id -u)" = 0 ] || fail "no Docker Engine answers, and only root can start one" \
    "if Docker runs: does \`docker version\` reach it? Its socket wants root or the group docker" \
    "else start Docker, set DOCKER_HOST to an engine for tests, or run this as root"
  [ "${#docker_dir}" -le 60 ] || fail "$docker_dir is too long a path for unix sockets" "set ROLLBACK_TEST_DIR to a shorter one"
  mkdir -p "$docker_dir"
  docker_try || docker_try --iptables=false || docker_try --iptables=false --storage-driver=vfs ||
    { tail -n 20 "$docker_log" >&2; fail "dockerd did not start; its log is $docker_log"; }
}

docker_try() {
  note "starting dockerd $*"
  rm -f "$docker_socket"
  setsid dockerd --host "unix://$docker_socket" --data-root "$docker_dir/data" --exec-root "$docker_dir/exec" \
    --pidfile "$docker_pid_file" "$@" </dev/null >"$docker_log" 2>&1 9>&- &
  local started=$! waited=0
  while [ "$waited" -lt 300 ]; do
    if docker_answers "unix://$docker_socket" >/dev/null; then return 0; fi
    kill -0 "$started" 2>/dev/null || return 1
    sleep 0.2
    waited=$((waited + 1))
  done
  stop_process "$started" dockerd 20
  return 1
}

docker_build_images() {
  local address=$1 busybox context image log=$test_dir/images.log
  busybox=$(static_busybox) || { install_packages "a static busybox" busybox-static && busybox=$(static_busybox); } ||
    fail "no static busybox was found"
  context=$test_dir/images
  mkdir -p "$context"
  cp "$busybox" "$context/busybox"
  cp "$root"/tests/images/* "$context/"
  for image in "${docker_images[@]}"; do
    docker_at "$address" build --quiet --tag "rollback-test/$image" \
      --file "$context/${image/:/-}.Dockerfile" "$context" </dev/null >"$log" 2>&1 ||
      { cat "$log" >&2; fail "could not build rollback-test/$image on $address"; }
  done
}

static_busybox() {
  local candidate
  for candidate in "$(command -v busybox || true)" /bin/busybox /bin/busybox.static; do
    if [ -x "$candidate" ] && ! ldd "$candidate" >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

docker_down() {
  local address left
  if address=$(docker_address); then
    left=$(docker_at "$address" ps --all --quiet --filter label=rollback-test)
    # shellcheck disable=SC2086 # one word per container
    if [ -n "$left" ]; then docker_at "$address" rm --force --volumes $left >/dev/null; fi
  fi
  stop_process "$(cat "$docker_pid_file" 2>/dev/null || true)" dockerd 30
}

docker_status() {
  local address image
  address=$(docker_address) || { printf 'docker  does not answer\n'; return 1; }
  for image in "${docker_images[@]}"; do
    docker_at "$address" image inspect "rollback-test/$image" >/dev/null 2>&1 ||
      { printf 'docker  %s lacks the image rollback-test/%s\n' "$address" "$image"; return 1; }
  done
  printf 'docker  %s at %s\n' "$(docker_answers "$address")" "$address"
}

docker_env() {
  local address
  address=$(docker_address) || fail "no Docker Engine answers" "run: scripts/servers up"
  printf 'export DOCKER_HOST=%q\nexport ROLLBACK_TEST_DOCKER=%q\n' "$address" "$address"
}
