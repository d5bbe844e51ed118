# Sourced by demo.sh and test.sh from the root of the project: makes an environment and installs the
# project and what it needs, as far as that has not been done. Sets PYTHON_IN_VENV.
#   setup_venv EXTRAS [FEWER]   e.g. setup_venv 'test,beam' 'test'
# FEWER extras are taken where EXTRAS cannot be installed, as without a compiler. These variables
# may be set:
#   NEWEST=1   the newest TensorFlow. Without it the extra "io" is added where the Python allows,
#              which means TensorFlow 2.17.
#   VENV       where the environment is; .venv, or .venv-newest with NEWEST
#   PYTHON     the Python that makes it, such as python3.13
setup_venv() {
  local extras="$1" fewer="${2:-}" newest="${NEWEST:-}" python="" candidate stamp
  local venv="${VENV:-.venv${newest:+-newest}}"
  PYTHON_IN_VENV="$venv/bin/python"
  stamp="$venv/installed-$(printf '%s%s%s' "$extras$newest" "$(cat setup.py)" "$(pwd)" | cksum | cut -d' ' -f1)"
  if [ -e "$stamp" ]; then return; fi
  if [ ! -x "$PYTHON_IN_VENV" ]; then
    for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3.13 python3}; do
      if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
          >/dev/null 2>&1; then
        python="$candidate"
        break
      fi
    done
    if [ -z "$python" ]; then
      echo "error: ${PYTHON:+PYTHON=$PYTHON: }no Python 3.10 to 3.13 with the venv module found (on Debian: apt install python3-venv)" >&2
      exit 2
    fi
    echo "Setting up $venv with $("$python" --version): a few minutes, once ..." >&2
    "$python" -m venv "$venv"
  fi
  # tensorflow-io is not there for Python 3.13.
  if [ -z "$newest" ] && "$PYTHON_IN_VENV" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
    extras="io${extras:+,$extras}" fewer="${fewer:+io,$fewer}"
  fi
  if ! _install "$extras"; then
    [ -n "$fewer" ] || return 1
    echo "warning: extras $extras could not be installed; going on with $fewer" >&2
    _install "$fewer"
  fi
  touch "$stamp"
}

_install() {
  "$PYTHON_IN_VENV" -m pip install --quiet --disable-pip-version-check --editable ".${1:+[$1]}"
}
