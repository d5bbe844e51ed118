#!/usr/bin/env bash
# Sets up .venv, then runs the whole experiment on the embedded corpus. Flags: ./demo.sh --help
set -euo pipefail
cd "$(dirname "$0")"
source tools/setup_venv.sh
setup_venv ''
exec "$PYTHON_IN_VENV" -m audioset_strong.tools.demo "$@"
