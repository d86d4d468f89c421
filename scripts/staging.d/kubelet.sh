#!/usr/bin/env bash
# What a node would do for the pods of the legacy version, without containers: those that wait become ready.
#
#   kubelet.sh FOLDER    the control plane's folder, as scripts/servers.d/kubernetes.sh makes it
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../servers.d/common.sh
source "$here/servers.d/common.sh"
# shellcheck source=../servers.d/kubernetes.sh
source "$here/servers.d/kubernetes.sh"
kubernetes_dir=$1
pods=/api/v1/namespaces/ollama/pods
waiting="$pods?pretty=true&fieldSelector=status.phase%3DPending&labelSelector=app%3Dollama-integration,version%3D1.0.0"
ready='{"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}'

while true; do
  # A pod's name is the only one with two parts behind the Deployment's. One that has gone meanwhile needs nothing.
  for pod in $(kubernetes_ask GET "$waiting" | sed -n 's|^ *"name": "\(ollama-integration-[a-z0-9]*-[a-z0-9]*\)",*$|\1|p'); do
    kubernetes_ask PATCH "$pods/$pod/status" application/merge-patch+json "$ready" >/dev/null || true
  done
  sleep 0.5
done
