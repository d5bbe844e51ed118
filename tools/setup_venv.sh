# Sourced by demo.sh and test.sh from the root of the project: makes an environment and installs the
# project and what it needs, as far as that has not been done. Sets PYTHON_IN_VENV.
#   setup_venv EXTRAS [FEWER]   e.g. setup_venv 'test,beam' 'test'
# FEWER extras are taken where EXTRAS cannot be installed, as without a compiler. These variables
# may be set:
#   NEWEST=1   the newest TensorFlow. Without it the extra "io" is added where the Python allows,
#              which means TensorFlow 2.17.
#   VENV       where the environment is; .venv, or .venv-newest with NEWEST
#   PYTHON     the Python that makes it, such as python3.13
# An environment that it made holds a file setup_state: "whole", or the process that installs there.
# pip takes a package that it was writing when it was cut off for an installed one, so what is not
# whole is made anew. An environment that somebody else made is never removed.
setup_venv() {
  local extras="$1" fewer="${2:-}" newest="${NEWEST:-}" python="" stamp
  local venv="${VENV:-.venv${newest:+-newest}}"
  PYTHON_IN_VENV="$venv/bin/python"
  stamp="$venv/installed-$(printf '%s%s%s' "$extras$newest" "$(cat setup.py)" "$(pwd)" | cksum | cut -d' ' -f1)"
  _wait_for_another_setup "$venv"
  if _installing "$venv" >/dev/null; then
    echo "The setup of $venv was cut off; it starts anew." >&2
    rm -rf "$venv"
  fi
  if [ -e "$stamp" ]; then return; fi
  if [ ! -x "$PYTHON_IN_VENV" ]; then
    _choose_python
    echo "Setting up $venv with $("$python" --version): a few minutes, once ..." >&2
    _make_environment "$python" "$venv"
  elif [ -e "$venv/setup_state" ]; then
    echo "$$" >"$venv/setup_state"
  fi
  # tensorflow-io is not there for Python 3.13.
  if [ -z "$newest" ] && "$PYTHON_IN_VENV" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
    extras="io${extras:+,$extras}" fewer="${fewer:+io,$fewer}"
  fi
  if ! _install "$extras"; then
    [ -n "$fewer" ] || return 1
    echo "warning: extras $extras could not be installed; going on with $fewer" >&2
    if [ -e "$venv/setup_state" ]; then
      [ -n "$python" ] || _choose_python
      rm -rf "$venv"
      _make_environment "$python" "$venv"
    fi
    _install "$fewer" || return 1
  fi
  touch "$stamp"
  if [ -e "$venv/setup_state" ]; then echo whole >"$venv/setup_state"; fi
}

# Sets python to the first that is recent enough and can make environments; exits where none is.
_choose_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3.13 python3}; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
        >/dev/null 2>&1; then
      python="$candidate"
      return
    fi
  done
  echo "error: ${PYTHON:+PYTHON=$PYTHON: }no Python 3.10 to 3.13 with the venv module found (on Debian: apt install python3-venv)" >&2
  exit 2
}

_make_environment() {
  mkdir -p "$2"
  echo "$$" >"$2/setup_state"
  "$1" -m venv "$2"
}

_wait_for_another_setup() {
  local told="" process
  while process="$(_installing "$1")" && [ "$process" != "$$" ] && kill -0 "$process" 2>/dev/null; do
    if [ -z "$told" ]; then echo "Waiting for process $process, which sets up $1 ..." >&2; fi
    told=1
    sleep 1
  done
}

# Prints the process that installs, or that was installing, in an environment; false where none does.
_installing() {
  [ -e "$1/setup_state" ] && [ "$(cat "$1/setup_state")" != whole ] && cat "$1/setup_state"
}

_install() {
  "$PYTHON_IN_VENV" -m pip install --quiet --disable-pip-version-check --editable ".${1:+[$1]}"
}
