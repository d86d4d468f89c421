# Sourced by scripts/staging: what this staging is called, where it lies, and whether that folder is ours.
# shellcheck shell=bash

staging_name=${ROLLBACK_STAGING_NAME:-}
staging_root=${ROLLBACK_STAGING_ROOT:-/srv/rollback-staging}
staging_ports=${ROLLBACK_STAGING_PORTS:-180}
# What only the scripts need; everything beside it is what a runbook and nginx see.
staging_own=$staging_root/staging
staging_mark=$staging_own/made-by-scripts-staging
# A staging that is there keeps its size.
staging_agents=$(cat "$staging_own/agents" 2>/dev/null || printf '%s' "${AGENTS:-131}")

# On every container, network and image: what carries another value is somebody else's.
staging_label=rollback-staging=${staging_name:-default}
prefix=${staging_name:+$staging_name-}
green_project=${prefix}ollama-optimized
blue_project=${prefix}legacy
green_image=${prefix}optimized/agent:2.0.0
blue_image=${prefix}legacy/agent:1.0.0

# The agents that nginx sends requests to: the first of each fleet, each with a port of its own on loopback.
balancer_port=${staging_ports}80
blue_ports=("${staging_ports}91" "${staging_ports}92" "${staging_ports}93")
green_ports=("${staging_ports}95" "${staging_ports}96" "${staging_ports}97")

# place_secret NAME: the file of this password, made at the first time; readable for whoever runs staging alone.
place_secret() {
  local file=$staging_root/etc/rollback/$1-password
  if [ ! -s "$file" ]; then
    mkdir -p "${file%/*}"
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$file")
  fi
  printf '%s\n' "$file"
}

# Two at the same time would build the same staging: the second waits. Descriptor 8 is closed in what outlives the script.
hold() {
  mkdir -p "$test_dir"
  exec 8>"$test_dir/staging-${staging_name:-default}.lock"
  flock --wait 600 8 || fail "another scripts/staging has worked on $staging_root for ten minutes"
}

place_is_ours() { [ -e "$staging_mark" ]; }

place_up() {
  [[ $staging_agents =~ ^[0-9]+$ && $staging_agents -ge 3 && $staging_agents -le 999 ]] ||
    fail "AGENTS is $staging_agents: a fleet has 3 to 999 agents"
  [[ $staging_ports =~ ^[1-5][0-9][0-9]$ ]] || fail "ROLLBACK_STAGING_PORTS is $staging_ports: give the first three digits of five"
  if place_is_ours; then
    [ "${AGENTS:-$staging_agents}" = "$staging_agents" ] ||
      fail "$staging_root has $staging_agents agents on each side, not $AGENTS" "for another size: make staging-down first"
    return
  fi
  [ ! -e "$staging_root" ] || fail "$staging_root is there already, and not made by scripts/staging" \
    "move it away, or choose another folder by ROLLBACK_STAGING_ROOT"
  mkdir -p "$staging_own" 2>/dev/null ||
    fail "$staging_root cannot be made" "run this as root, or choose another folder by ROLLBACK_STAGING_ROOT"
  printf '%s\n' "$staging_agents" >"$staging_own/agents"
  printf 'scripts/staging down removes this folder.\n' >"$staging_mark"
}

place_status() { place_is_ours || { printf 'staging  nothing in %s\n' "$staging_root"; return 1; }; }

place_reset() { :; }

place_down() {
  if place_is_ours; then rm -rf "$staging_root"; fi
  rm -f "$test_dir/staging-${staging_name:-default}.lock"
}
