#!/usr/bin/env bash
# Checks that the pins are what the members ask for, and that each service runs on its own requirements alone.
set -euo pipefail
uv=$1
tools=.tools/lint
mkdir -p "$tools/pins"

# Resolved over the committed pins, which stay unless a member asks for something else.
cp requirements/*.txt "$tools/pins"
bash requirements/compile.sh "$uv" "$tools/pins"
for file in requirements/*.txt; do
  if ! diff -q "$file" "$tools/pins/$(basename "$file")" >/dev/null; then
    echo "$file is not what the pyproject files ask for: run 'make pins' and commit it" >&2
    exit 1
  fi
done

# An import that a member forgot to declare passes in the shared environment, and fails here.
check() { # name, folders, modules
  local environment="$tools/$1" stamp="$tools/$1.installed"
  if ! cmp -s "requirements/$1.txt" "$stamp"; then
    "$uv" venv --quiet --clear --python .venv/bin/python "$environment"
    "$uv" pip sync --quiet --python "$environment/bin/python" --require-hashes "requirements/$1.txt"
    cp "requirements/$1.txt" "$stamp"
  fi
  local path
  path=$(printf "%s/src:" $2)
  PYTHONPATH=$path "$environment/bin/python" -W error::ImportWarning -c "import $3"
}
check gateway "shared services/gateway" turnstream_gateway.app
check worker "shared services/worker" "turnstream_worker.app, turnstream_worker.embedded_stack, turnstream_worker.tools.stack_search"
check local "shared services/gateway services/worker deploy/local" "turnstream_local.cli, turnstream.migrations"
echo "pins are up to date, and each service imports with its own requirements"
