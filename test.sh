#!/usr/bin/env bash
# Sets up .venv, then runs lint, type check and tests. Arguments go to pytest: ./test.sh -k framing
# NEWEST=1 ./test.sh does it in .venv-newest, with the newest TensorFlow (tools/setup_venv.sh).
set -euo pipefail
cd "$(dirname "$0")"
source tools/setup_venv.sh
setup_venv 'test,beam,events' 'test'
"$PYTHON_IN_VENV" -m ruff check .
"$PYTHON_IN_VENV" -m ruff format --check .
"$PYTHON_IN_VENV" -m mypy
# By file, for the tests of a file share what they train or convert.
exec "$PYTHON_IN_VENV" -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile "$@"
