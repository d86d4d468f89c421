# Sourced by scripts/servers: a Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager, with RBAC. Nothing is kept from one
# start to the next. No kubelet runs and no scheduler: whoever needs pods to become ready says so over the API.
#
# Four users come in by token: admin may do everything; deployer, viewer and nobody may do nothing until somebody binds a role to them. The
# kubeconfig has a context of each of these names.
#
# The programs are taken from KUBEBUILDER_ASSETS (the convention of setup-envtest) or the path. Else root builds the two that Debian has no
# package of, from Debian's source package, once: that takes some minutes.
#
# Whoever sources this may choose another folder and ports: `any` is a free one.
# shellcheck shell=bash

kubernetes_dir=$test_dir/kubernetes
kubernetes_built=$test_dir/kubernetes-bin
kubernetes_port=any
kubernetes_etcd_ports=(any any)
kubernetes_users=(admin deployer viewer nobody)
kubernetes_programs=(etcd kube-apiserver kube-controller-manager)

kubernetes_binary() {
  local candidate
  for candidate in "${KUBEBUILDER_ASSETS:-/nowhere}/$1" "$(command -v "$1" || true)" "/usr/bin/$1" "$kubernetes_built/$1"; do
    if [ -x "$candidate" ]; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

kubernetes_has_binaries() {
  local program
  for program in "${kubernetes_programs[@]}"; do kubernetes_binary "$program" >/dev/null || return 1; done
}

kubernetes_version() { kubernetes_ask GET /version | sed -n 's/^.*"gitVersion": "v\([^"]*\)".*$/\1/p'; }

kubernetes_url() { printf 'https://127.0.0.1:%s' "$(cat "$kubernetes_dir/port")"; }

kubernetes_up() {
  kubernetes_install
  kubernetes_answers || kubernetes_start
  note "kubernetes $(kubernetes_version) at $(kubernetes_url)"
}

kubernetes_install() {
  command -v openssl >/dev/null || install_packages "openssl" openssl
  # What an undo is held against.
  command -v kubectl >/dev/null || install_packages "kubectl" kubernetes-client
  if kubernetes_has_binaries; then return; fi
  if ! kubernetes_binary etcd >/dev/null; then
    install_packages "etcd" etcd-server
    disable_service etcd.service
  fi
  if kubernetes_has_binaries; then return; fi
  kubernetes_require
  kubernetes_build
}

# Fails where the two programs that Debian has no package of are missing and cannot be built.
kubernetes_require() {
  if kubernetes_binary kube-apiserver >/dev/null && kubernetes_binary kube-controller-manager >/dev/null; then return; fi
  can_install && grep -qx 'VERSION_CODENAME=bookworm' /etc/os-release ||
    fail "kube-apiserver or kube-controller-manager is missing" \
      "put both on the path, or into the folder that KUBEBUILDER_ASSETS names" \
      "or run this as root on Debian 12: it builds them from Debian's source package"
}

# The source package brings everything that it is built from.
kubernetes_build() {
  local program build=$test_dir/kubernetes-build log=$test_dir/kubernetes-build.log
  for program in go rsync make gcc; do
    command -v "$program" >/dev/null || { install_packages "what Kubernetes is built with" golang-go rsync make gcc libc6-dev && break; }
  done
  note "building kube-apiserver and kube-controller-manager; the log is $log"
  rm -rf "$build"
  mkdir -p "$build" "$kubernetes_built"
  if ! (cd "$build" && kubernetes_fetch_source && kubernetes_renew_reflect2 && kubernetes_compile) </dev/null >"$log" 2>&1 9>&-; then
    tail -n 20 "$log" >&2
    fail "Kubernetes could not be built; the log is $log"
  fi
  rm -rf "$build"
}

# With a list of sources of its own: the system's stay as they are.
kubernetes_fetch_source() {
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' |
    sed -n 's/ bookworm$//p' | head -n 1)
  printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm main\n' \
    "${mirror:-http://deb.debian.org/debian}" >sources.list
  mkdir -p lists/partial
  local apt=(apt-get -o Acquire::Retries=3 -o "Dir::Etc::SourceList=$PWD/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$PWD/lists" -o APT::Sandbox::User=root)
  "${apt[@]}" update && "${apt[@]}" source --download-only kubernetes golang-github-modern-go-reflect2 &&
    tar --extract --file kubernetes_*.orig.tar.* && tar --extract --file golang-github-modern-go-reflect2_*.orig.tar.*
}

# The reflect2 1.0.1 that Kubernetes 1.20 brings fails at run time when it is built with Go 1.18 or newer; 1.0.2 was made for that.
kubernetes_renew_reflect2() {
  local vendored
  vendored=$(echo kubernetes-*/vendor/github.com/modern-go)/reflect2
  rm -r "$vendored" && mv golang-github-modern-go-reflect2-*/ "$vendored"
}

kubernetes_compile() {
  cd kubernetes-*/ &&
    KUBE_GIT_VERSION=v1.20.2 KUBE_GIT_COMMIT=faecb196815e248d3ecfb03c680a4507229c2a56 KUBE_GIT_TREE_STATE=clean \
      KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20 GOCACHE=$PWD/../cache GOFLAGS=-mod=vendor GOLDFLAGS='-s -w' \
      make WHAT='cmd/kube-apiserver cmd/kube-controller-manager' &&
    mv _output/local/bin/*/*/kube-apiserver _output/local/bin/*/*/kube-controller-manager "$kubernetes_built/"
}

# kubernetes_accepts PROGRAM OPTION...: prints those that it knows; they come and go with the versions.
kubernetes_accepts() {
  local binary help option
  binary=$(kubernetes_binary "$1")
  shift
  help=$("$binary" --help 2>&1 || true)
  for option in "$@"; do
    if grep -q -e "^ *${option%%=*}\b" <<<"$help"; then printf '%s\n' "$option"; fi
  done
}

# Somebody else's server at a port that was once ours answers, too, and must not be taken for it: only ours knows the token.
kubernetes_answers() {
  [ -s "$kubernetes_dir/port" ] && kubernetes_runs kube-controller-manager && kubernetes_runs kube-apiserver && kubernetes_is_ready
}

kubernetes_is_ready() { [ -s "$kubernetes_dir/certs/apiserver.crt" ] && [ "$(kubernetes_ask GET /readyz)" = ok ]; }

# kubernetes_ask METHOD PATH [TYPE BODY]: asks as the admin, and prints the body of the answer; ends 1 unless that is a success.
kubernetes_ask() {
  local answer
  answer=$(
    printf '%s %s HTTP/1.0\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %s\r\n\r\n%s' \
      "$1" "$2" "$(kubernetes_token admin)" "${3:-application/json}" "$(printf '%s' "${4:-}" | wc -c)" "${4:-}" |
      timeout 10 openssl s_client -quiet -verify_return_error -CAfile "$kubernetes_dir/certs/apiserver.crt" \
        -connect "127.0.0.1:$(cat "$kubernetes_dir/port")" 2>/dev/null 8>&- 9>&-
  ) || return 1
  sed '1,/^\r$/d' <<<"$answer"
  [[ $answer == 'HTTP/1.0 2'* ]]
}

kubernetes_token() { cat "$kubernetes_dir/tokens/$1"; }

kubernetes_configure() {
  local user
  mkdir -p "$kubernetes_dir"
  chmod 0700 "$kubernetes_dir"
  (umask 077 && mkdir "$kubernetes_dir/tokens")
  openssl genrsa -out "$kubernetes_dir/sa.key" 2048 2>/dev/null
  for user in "${kubernetes_users[@]}"; do
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$kubernetes_dir/tokens/$user")
    printf '%s,%s,%s%s\n' "$(kubernetes_token "$user")" "$user" "$user" "$([ "$user" != admin ] || printf ',"system:masters"')"
  done >"$kubernetes_dir/tokens.csv"
}

# With the certificate inside, so that the file can be read from anywhere.
kubernetes_kubeconfig() {
  local user
  printf 'apiVersion: v1\nkind: Config\ncurrent-context: admin\nclusters:\n  - name: rollback-tests\n    cluster:\n'
  printf '      server: %s\n      certificate-authority-data: %s\n' "$(kubernetes_url)" \
    "$(base64 -w 0 "$kubernetes_dir/certs/apiserver.crt")"
  printf 'users:\n'
  for user in "${kubernetes_users[@]}"; do printf '  - {name: %s, user: {token: %s}}\n' "$user" "$(kubernetes_token "$user")"; done
  printf 'contexts:\n'
  for user in "${kubernetes_users[@]}"; do printf '  - {name: %s, context: {cluster: rollback-tests, user: %s}}\n' "$user" "$user"; done
}

# kubernetes_run PROGRAM ARGUMENT...: its number goes into PROGRAM.pid, and what it says into PROGRAM.log.
kubernetes_run() {
  local program=$1 binary
  binary=$(kubernetes_binary "$1")
  shift
  (
    cd "$kubernetes_dir" || exit 1
    setsid "$binary" "$@" </dev/null >"$program.log" 2>&1 8>&- 9>&- &
    printf '%s\n' "$!" >"$program.pid"
  )
}

kubernetes_pid() { cat "$kubernetes_dir/$1.pid" 2>/dev/null || true; }

kubernetes_runs() { works_in "$(kubernetes_pid "$1")" "$kubernetes_dir"; }

kubernetes_start() {
  local tries=0
  while [ "$tries" -lt 5 ]; do
    tries=$((tries + 1))
    kubernetes_end
    rm -rf "$kubernetes_dir"
    kubernetes_configure
    if kubernetes_start_etcd && kubernetes_start_server && kubernetes_start_controllers; then return 0; fi
  done
  tail -n 5 "$kubernetes_dir"/*.log >&2 || true
  fail "Kubernetes did not start; its logs are in $kubernetes_dir"
}

kubernetes_free_port() { if [ "$1" = any ]; then printf '%s\n' "$((11000 + RANDOM % 20000))"; else printf '%s\n' "$1"; fi; }

kubernetes_start_etcd() {
  local clients peers extra
  clients=http://127.0.0.1:$(kubernetes_free_port "${kubernetes_etcd_ports[0]}")
  peers=http://127.0.0.1:$(kubernetes_free_port "${kubernetes_etcd_ports[1]}")
  mapfile -t extra < <(kubernetes_accepts etcd --unsafe-no-fsync)
  kubernetes_run etcd --data-dir etcd --listen-client-urls "$clients" --advertise-client-urls "$clients" \
    --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers" "${extra[@]}"
  printf '%s\n' "$clients" >"$kubernetes_dir/etcd-url"
}

# Pods need no account of the cluster's to be made, since none of them runs.
kubernetes_start_server() {
  local port
  port=$(kubernetes_free_port "$kubernetes_port")
  printf '%s\n' "$port" >"$kubernetes_dir/port"
  kubernetes_run kube-apiserver --etcd-servers="$(cat "$kubernetes_dir/etcd-url")" --secure-port="$port" --bind-address=127.0.0.1 \
    --advertise-address=127.0.0.1 --endpoint-reconciler-type=none --cert-dir=certs --service-cluster-ip-range=10.0.0.0/24 \
    --service-account-issuer=https://kubernetes.default.svc --service-account-signing-key-file=sa.key --service-account-key-file=sa.key \
    --token-auth-file=tokens.csv --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount
  kubernetes_waits kube-apiserver || return 1
  (umask 077 && kubernetes_kubeconfig >"$kubernetes_dir/kubeconfig")
}

kubernetes_start_controllers() {
  local extra
  mapfile -t extra < <(kubernetes_accepts kube-controller-manager --port=0)
  kubernetes_run kube-controller-manager --kubeconfig=kubeconfig --leader-elect=false --bind-address=127.0.0.1 --secure-port=0 "${extra[@]}" \
    --controllers=deployment,replicaset,statefulset,daemonset,namespace,garbagecollector
  kubernetes_waits kube-controller-manager
}

# Until the whole answers, or a program has ended because somebody else listens at its port.
kubernetes_waits() {
  local waited=0
  while [ "$waited" -lt 600 ]; do
    if kubernetes_is_ready; then return 0; fi
    kubernetes_runs etcd && kubernetes_runs kube-apiserver && kubernetes_runs "$1" || return 1
    sleep 0.1
    waited=$((waited + 1))
  done
  return 1
}

# Those that ask before those that they ask.
kubernetes_end() {
  local program pid
  for program in kube-controller-manager kube-apiserver etcd; do
    pid=$(kubernetes_pid "$program")
    if works_in "$pid" "$kubernetes_dir"; then stop_process "$pid" "$(cat "/proc/$pid/comm")" 20; fi
  done
}

kubernetes_down() { kubernetes_end; }

kubernetes_status() {
  kubernetes_has_binaries || { printf 'kubernetes is missing\n'; return 1; }
  kubernetes_answers || { printf 'kubernetes does not answer\n'; return 1; }
  printf 'kubernetes %s at %s\n' "$(kubernetes_version)" "$(kubernetes_url)"
}

kubernetes_env() {
  kubernetes_answers || fail "Kubernetes does not answer" "run: scripts/servers up"
  printf 'export ROLLBACK_TEST_KUBERNETES=%q\nexport ROLLBACK_TEST_KUBECONFIG=%q\n' "$(kubernetes_url)" "$kubernetes_dir/kubeconfig"
  printf 'export ROLLBACK_TEST_KUBECTL=%q\n' "$(command -v kubectl)"
}
