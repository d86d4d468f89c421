#!/bin/sh
# Answers /health with its version and /api/system/health with its state, on port 8080, until SIGTERM.
trap 'exit 0' TERM

mkdir -p /www/api/system
printf '{"version": "%s", "status": "ok", "agent": "%s"}\n' "$AGENT_VERSION" "$AGENT_NAME" >/www/health
printf '{"status": "healthy", "version": "%s"}\n' "$AGENT_VERSION" >/www/api/system/health
httpd -p 8080 -h /www

# `wait` returns at once when a trapped signal arrives; `sleep` in the foreground would not.
while true; do
  sleep 3600 &
  wait $!
done
