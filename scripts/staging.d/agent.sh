#!/bin/sh
# Answers /health with its version, /api/system/health with its state and /api/tasks with what it works on (nothing), on port 8080, until SIGTERM.
trap 'exit 0' TERM

mkdir -p /www/api/system
printf '{"version": "%s", "status": "ok", "agent": "%s"}\n' "$AGENT_VERSION" "$AGENT_NAME" >/www/health
printf '{"status": "healthy", "version": "%s"}\n' "$AGENT_VERSION" >/www/api/system/health
printf '{"in_flight": 0}\n' >/www/api/tasks
httpd -p 8080 -h /www

# `wait` returns at once when a trapped signal arrives; `sleep` in the foreground would not.
while true; do
  sleep 3600 &
  wait $!
done
