# Sourced by demo.sh and test.sh from the root of the project: makes .venv and installs the project
# and what it needs, as far as that has not been done.
#   setup_venv EXTRAS [FEWER]   e.g. setup_venv '[test,beam]' '[test]'
# FEWER extras are taken where EXTRAS cannot be installed, as without a compiler.
setup_venv() {
  local extras="${1:-}" fewer="${2:-}" python="" candidate stamp
  stamp=".venv/installed-$(printf '%s%s' "$extras" "$(cat setup.py)" "$(pwd)" | cksum | cut -d' ' -f1)"
  if [ -e "$stamp" ]; then return; fi
  for candidate in python3.11 python3.12 python3.10 python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
        >/dev/null 2>&1; then
      python="$candidate"
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "error: no Python 3.10, 3.11 or 3.12 with the venv module found (on Debian: apt install python3-venv)" >&2
    exit 2
  fi
  echo "Setting up .venv with $("$python" --version): a few minutes, once ..." >&2
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extras"; then
    [ -n "$fewer" ] || return 1
    echo "warning: $extras could not be installed; going on with $fewer" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$fewer"
  fi
  touch "$stamp"
}
