#!/usr/bin/env bash
# Sets up .venv, then runs lint, type check and tests. Arguments go to pytest: ./test.sh -k framing
set -euo pipefail
cd "$(dirname "$0")"
source tools/setup_venv.sh
setup_venv '[test,beam,events]' '[test]'
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# By file, for the tests of a file share what they train or convert.
exec .venv/bin/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile "$@"
