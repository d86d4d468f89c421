# Sourced by scripts/servers: the mail server aiosmtpd, a package of Python. Each test starts an instance of its own, on a free port
# (tests/fixtures/smtp-server.py), so nothing runs between tests.
# shellcheck shell=bash

# Prints a Python that has it, and the version.
smtp_python() {
  local candidate
  for candidate in "${ROLLBACK_TEST_SMTP_PYTHON:-}" /usr/bin/python3 "$(command -v python3 || true)"; do
    if [ -x "$candidate" ] && smtp_version "$candidate" >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

smtp_version() { "$1" -c 'import aiosmtpd; print(aiosmtpd.__version__)'; }

smtp_up() {
  local python
  if ! python=$(smtp_python); then
    install_packages "aiosmtpd" python3-aiosmtpd
    python=$(smtp_python) || fail "the package python3-aiosmtpd brought no aiosmtpd"
  fi
  note "aiosmtpd $(smtp_version "$python") in $python"
}

smtp_down() { :; }

smtp_status() {
  local python
  python=$(smtp_python) || { printf 'smtp    is missing\n'; return 1; }
  printf 'smtp    aiosmtpd %s in %s\n' "$(smtp_version "$python")" "$python"
}

smtp_env() {
  local python
  python=$(smtp_python) || fail "aiosmtpd is missing" "run: scripts/servers up"
  printf 'export ROLLBACK_TEST_SMTP_PYTHON=%q\n' "$python"
}
