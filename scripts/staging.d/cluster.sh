# Sourced by scripts/staging: a Kubernetes control plane of its own, with the agents' integration service in the middle of a rollout.
#
# No container runs: a loop makes the pods of the legacy version ready, and those of the new one stay as they are, which is what went wrong.
# Rollback comes in as a user that may do what bringing the former revision back needs.
# shellcheck shell=bash

kubernetes_dir=$staging_root/var/lib/kubernetes
kubernetes_port=${staging_ports}43
kubernetes_etcd_ports=("${staging_ports}44" "${staging_ports}45")
kubernetes_users=(admin rollback)
cluster_deployments=/apis/apps/v1/namespaces/ollama/deployments
cluster_deployment=$cluster_deployments/ollama-integration
cluster_rbac=/apis/rbac.authorization.k8s.io/v1/namespaces/ollama

cluster_up() {
  (exec 8>&- && lock && kubernetes_install)
  if ! kubernetes_answers; then
    cluster_end_kubelet
    kubernetes_start
  fi
  works_in "$(kubernetes_pid kubelet)" "$kubernetes_dir" || cluster_start_kubelet
  if kubernetes_ask GET "$cluster_deployment" >/dev/null; then return; fi
  cluster_make /api/v1/namespaces '{"metadata": {"name": "ollama"}}'
  cluster_make "$cluster_rbac/roles" "$(cluster_role)"
  cluster_make "$cluster_rbac/rolebindings" '{
    "metadata": {"name": "rollback"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rollback"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "rollback"}]}'
  cluster_deploy
}

# cluster_make PATH BODY: one that is there already stays.
cluster_make() {
  local answer
  answer=$(kubernetes_ask POST "$1" application/json "$2") || grep -q AlreadyExists <<<"$answer" ||
    { printf '%s\n' "$answer" >&2; fail "the control plane does not take $1"; }
}

cluster_role() {
  cat <<'JSON'
{"metadata": {"name": "rollback"}, "rules": [
  {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "patch"]},
  {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch", "update"]},
  {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list"]},
  {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
  {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update", "delete"]}
]}
JSON
}

# The legacy version rolled out, then the new one until it is stuck: three old pods and two new ones.
cluster_deploy() {
  cluster_make "$cluster_deployments" "{
    \"metadata\": {\"name\": \"ollama-integration\"},
    \"spec\": {\"replicas\": 4, \"selector\": {\"matchLabels\": {\"app\": \"ollama-integration\"}}, \"template\": $(cluster_template legacy 1.0.0)}}"
  cluster_waits_for availableReplicas 4
  kubernetes_ask PATCH "$cluster_deployment" application/merge-patch+json \
    "{\"spec\": {\"template\": $(cluster_template ollama 2.0.0)}}" >/dev/null || fail "the new version cannot be deployed"
  cluster_waits_for updatedReplicas 2
}

# cluster_template PROJECT VERSION: pods of this version carry it as a label.
cluster_template() {
  printf '{"metadata": {"labels": {"app": "ollama-integration", "version": "%s"}},
    "spec": {"containers": [{"name": "integration", "image": "%s/integration:%s"}]}}' "$2" "$1" "$2"
}

# cluster_field NAME: of the Deployment, as the server writes it on a line of its own; the first of that name.
cluster_field() {
  kubernetes_ask GET "$cluster_deployment?pretty=true" | sed -n "s|^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$|\1|p" | head -n 1
}

cluster_waits_for() {
  local tries=0
  until [ "$(cluster_field "$1")" = "$2" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || fail "the Deployment ollama-integration does not reach $1 $2" "the logs are in $kubernetes_dir"
    sleep 0.2
  done
}

cluster_start_kubelet() {
  (
    cd "$kubernetes_dir" || exit 1
    setsid bash "$here/staging.d/kubelet.sh" "$kubernetes_dir" </dev/null >kubelet.log 2>&1 8>&- 9>&- &
    printf '%s\n' "$!" >kubelet.pid
  )
}

cluster_end_kubelet() {
  if works_in "$(kubernetes_pid kubelet)" "$kubernetes_dir"; then stop_process "$(kubernetes_pid kubelet)" bash 5; fi
}

cluster_status() {
  local paused=
  kubernetes_answers || { printf 'cluster  does not answer; see %s\n' "$kubernetes_dir"; return 1; }
  if [ "$(cluster_field paused)" = true ]; then paused=', paused'; fi
  printf 'cluster  Kubernetes %s at %s: ollama/ollama-integration revision %s from %s, %s of %s updated, %s available%s\n' \
    "$(kubernetes_version)" "$(kubernetes_url)" "$(cluster_field deployment.kubernetes.io/revision)" "$(cluster_field image)" \
    "$(cluster_number updatedReplicas)" "$(cluster_field replicas)" "$(cluster_number availableReplicas)" "$paused"
}

# The server leaves out what is 0.
cluster_number() {
  local number
  number=$(cluster_field "$1")
  printf '%s' "${number:-0}"
}

cluster_reset() {
  local tries=0
  kubernetes_ask DELETE "$cluster_deployment" application/json '{"propagationPolicy": "Foreground"}' >/dev/null || true
  while kubernetes_ask GET "$cluster_deployment" >/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || fail "the Deployment ollama-integration does not go" "the logs are in $kubernetes_dir"
    sleep 0.2
  done
  cluster_deploy
}

cluster_down() {
  place_is_ours || return 0
  cluster_end_kubelet
  kubernetes_down
}
