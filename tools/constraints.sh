#!/bin/bash
# Renew constraints.txt: the newest versions that pyproject.toml allows, for the program, its tests and `make dist`.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1' # the first that knows --group
"$folder/venv/bin/python" -m pip install --quiet --editable '.[proxy]' --group dev --group dist
{
    echo "# The versions that the tests run with; made by \`make constraints\`."
    "$folder/venv/bin/python" -m pip freeze --exclude-editable
} >"$folder/constraints.txt"
mv "$folder/constraints.txt" constraints.txt
