# Sourced by scripts/staging: the application's files below the folder, as the upgrade left them.
# shellcheck shell=bash

files_app=$staging_root/opt/sutazaiapp

files_up() { [ -d "$files_app" ] || files_seed; }

# The backup holds what was there before the upgrade; the upgrade changed every file, and added one.
files_seed() {
  local live=$files_app/agents/configs backup=$files_app/backup/agent-configs number
  rm -rf "$files_app"
  mkdir -p "$live" "$backup" "$files_app/deployment" "$files_app/logs"
  for ((number = 1; number <= staging_agents; number++)); do
    printf 'name: agent-%03d\nbase_version: 1.0.0\n' "$number" >"$backup/$(printf 'agent-%03d.yaml' "$number")"
    printf 'name: agent-%03d\nbase_version: 2.0.0\nmodel: tinyllama\n' "$number" >"$live/$(printf 'agent-%03d.yaml' "$number")"
  done
  printf 'AGENT_CLASS=BaseAgent\n' >"$backup/.environment"
  printf 'AGENT_CLASS=BaseAgentV2\n' >"$live/.environment"
  printf 'class: BaseAgentV2\n' >"$live/base-agent-v2.yaml"
}

files_status() {
  local state=mixed lock=free
  [ -d "$files_app" ] || { printf 'files    missing\n'; return 1; }
  if diff -r "$files_app/backup/agent-configs" "$files_app/agents/configs" >/dev/null; then state=legacy; fi
  if [ -e "$files_app/agents/configs/base-agent-v2.yaml" ]; then state=upgraded; fi
  if [ -e "$files_app/deployment/.rollback-in-progress" ]; then lock=held; fi
  printf 'files    configuration %s, deployment lock %s\n' "$state" "$lock"
}

files_reset() { files_seed; }

files_down() { :; }
