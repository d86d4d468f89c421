#!/bin/sh
# An agent: answers its version over HTTP on port 8080 and leaves at once on SIGTERM.
# AGENT_STOP_SECONDS makes it take its time, AGENT_HEALTH=broken keeps it from ever being healthy.
leave() {
  sleep "${AGENT_STOP_SECONDS:-0}"
  exit 0
}
trap leave TERM

mkdir -p /www
printf '%s' "$AGENT_VERSION" >/www/version
if [ "${AGENT_HEALTH:-good}" = good ]; then printf 'ok' >/www/health; fi
httpd -p 8080 -h /www

# `wait` returns at once when a trapped signal arrives; `sleep` in the foreground would not.
while true; do
  sleep 3600 &
  wait $!
done
