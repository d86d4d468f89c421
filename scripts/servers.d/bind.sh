# Sourced by scripts/servers: BIND three times: a primary that takes signed updates, a secondary, and a resolver.
#
# The secondary follows `follows.test` at once. Of `lags.test` it is never told: it stays behind until a test sends it a NOTIFY. Whoever sources
# this may choose another folder and ports: `any` is a free one.
# shellcheck shell=bash

bind_dir=$test_dir/bind
bind_ports=(any any any)
bind_roles=(primary secondary resolver)
bind_key=rollback-test

bind_binary() {
  local candidate
  for candidate in "${ROLLBACK_TEST_BIND:-}" "$(command -v named || true)" /usr/sbin/named; do
    if [ -x "$candidate" ]; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

bind_version() { "$1" -v 2>&1 | sed 's/^BIND \([^ ]*\).*/\1/'; }

bind_address() { printf '127.0.0.1:%s' "$(cat "$bind_dir/$1/port")"; }

# Somebody else's server at a port that was once ours answers, too, and must not be taken for it.
bind_answers() {
  [ -s "$bind_dir/$1/port" ] &&
    [ "$(dig @127.0.0.1 -p "$(cat "$bind_dir/$1/port")" +short +time=1 +tries=1 folder.follows.test TXT 2>/dev/null 8>&- 9>&-)" = "\"$bind_dir\"" ]
}

bind_all_answer() {
  local role
  for role in "${bind_roles[@]}"; do bind_answers "$role" || return 1; done
}

bind_up() {
  local binary
  bind_install
  binary=$(bind_binary)
  bind_all_answer || bind_start "$binary"
  note "bind $(bind_version "$binary") at $(bind_address primary), secondary $(bind_address secondary), resolver $(bind_address resolver)"
}

bind_install() {
  if bind_binary >/dev/null && command -v dig >/dev/null; then return; fi
  install_packages "bind9" bind9 bind9-dnsutils
  disable_service named.service
  bind_binary >/dev/null || fail "the package bind9 brought no named"
}

bind_start() {
  local binary=$1 tries=0 index role port
  bind_down
  rm -rf "$bind_dir"
  for role in "${bind_roles[@]}"; do mkdir -p "$bind_dir/$role"; done
  # A copy: profiles of AppArmor tie /usr/sbin/named to /etc/bind and /var/cache/bind.
  cp "$binary" "$bind_dir/named"
  (umask 077 && head -c 32 /dev/urandom | base64 -w 0 >"$bind_dir/secret")
  while [ "$tries" -lt 20 ]; do
    tries=$((tries + 1))
    for index in "${!bind_roles[@]}"; do
      port=${bind_ports[index]}
      if [ "$port" = any ]; then port=$((11000 + RANDOM % 20000)); fi
      printf '%s\n' "$port" >"$bind_dir/${bind_roles[index]}/port"
    done
    bind_configure
    for role in "${bind_roles[@]}"; do bind_launch "$role"; done
    if bind_waits; then return 0; fi
    bind_down
  done
  for role in "${bind_roles[@]}"; do tail -n 10 "$bind_dir/$role/named.log" >&2 || true; done
  fail "BIND did not start; its logs are in $bind_dir"
}

bind_launch() {
  (
    cd "$bind_dir/$1" || exit 1
    setsid "$bind_dir/named" -f -4 -n 1 -c named.conf -L named.log </dev/null >start.log 2>&1 8>&- 9>&- &
    printf '%s\n' "$!" >pid
  )
}

# Until all of them answer, or one has ended because somebody else listens at its port.
bind_waits() {
  local waited=0 role
  while [ "$waited" -lt 100 ]; do
    if bind_all_answer; then return 0; fi
    for role in "${bind_roles[@]}"; do
      if [ ! -e "/proc/$(cat "$bind_dir/$role/pid")" ]; then return 1; fi
    done
    sleep 0.2
    waited=$((waited + 1))
  done
  return 1
}

# bind_options ROLE: what all of them have.
bind_options() {
  cat <<CONF
key "$bind_key" { algorithm hmac-sha256; secret "$(cat "$bind_dir/secret")"; };
controls { };
options {
  directory "$bind_dir/$1";
  listen-on port $(cat "$bind_dir/$1/port") { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file "named.pid";
  session-keyfile "session.key";
  managed-keys-directory ".";
  empty-zones-enable no;
  dnssec-validation no;
  minimal-responses no-auth;
CONF
}

bind_zone() {
  cat <<ZONE
\$TTL 60
@ IN SOA ns1.follows.test. hostmaster.follows.test. 1 3600 3600 86400 5
@ IN NS ns1.follows.test.
@ IN NS ns2.follows.test.
ZONE
}

bind_configure() {
  local primary secondary
  primary=$(cat "$bind_dir/primary/port")
  secondary=$(cat "$bind_dir/secondary/port")
  rm -f "$bind_dir"/*/*.zone "$bind_dir"/*/*.jnl
  {
    bind_zone
    printf 'ns1 IN A 127.0.0.1\nns2 IN A 127.0.0.1\nfolder IN TXT "%s"\n' "$bind_dir"
  } >"$bind_dir/primary/follows.zone"
  bind_zone >"$bind_dir/primary/lags.zone"
  {
    bind_options primary
    cat <<CONF
  recursion no;
  allow-transfer { 127.0.0.1; };
  notify-delay 0;
  notify-rate 1000;
};
zone "follows.test" {
  type primary; file "follows.zone"; update-policy { grant $bind_key zonesub ANY; };
  notify explicit; also-notify { 127.0.0.1 port $secondary; };
};
zone "lags.test" { type primary; file "lags.zone"; update-policy { grant $bind_key zonesub ANY; }; notify no; };
CONF
  } >"$bind_dir/primary/named.conf"
  {
    bind_options secondary
    cat <<CONF
  recursion no;
  notify no;
  serial-query-rate 1000;
};
zone "follows.test" { type secondary; file "follows.zone"; primaries { 127.0.0.1 port $primary; }; };
zone "lags.test" { type secondary; file "lags.zone"; primaries { 127.0.0.1 port $primary; }; allow-notify { 127.0.0.1; }; };
CONF
  } >"$bind_dir/secondary/named.conf"
  {
    bind_options resolver
    # Nothing is fetched again before its time, so that a TTL can be watched to its end.
    cat <<CONF
  recursion yes;
  prefetch 0;
  forward only;
  forwarders { 127.0.0.1 port $primary; };
};
CONF
  } >"$bind_dir/resolver/named.conf"
  chmod 0600 "$bind_dir"/*/named.conf
}

bind_down() {
  local role pid
  for role in "${bind_roles[@]}"; do
    pid=$(cat "$bind_dir/$role/pid" 2>/dev/null || true)
    if works_in "$pid" "$bind_dir/$role"; then stop_process "$pid" named 10; fi
  done
}

bind_status() {
  local binary
  binary=$(bind_binary) || { printf 'bind    is missing\n'; return 1; }
  bind_all_answer || { printf 'bind    does not answer\n'; return 1; }
  printf 'bind    %s at %s, secondary %s, resolver %s\n' "$(bind_version "$binary")" "$(bind_address primary)" \
    "$(bind_address secondary)" "$(bind_address resolver)"
}

bind_env() {
  bind_all_answer || fail "BIND does not answer" "run: scripts/servers up"
  printf 'export ROLLBACK_TEST_BIND_PRIMARY=%q\nexport ROLLBACK_TEST_BIND_SECONDARY=%q\nexport ROLLBACK_TEST_BIND_RESOLVER=%q\n' \
    "$(bind_address primary)" "$(bind_address secondary)" "$(bind_address resolver)"
  printf 'export ROLLBACK_TEST_BIND_KEY=%q\n' "$bind_key:$(cat "$bind_dir/secret")"
}
