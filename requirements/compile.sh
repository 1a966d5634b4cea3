#!/usr/bin/env bash
# Resolves the pins: one hashed file for development, one per service for its image. Give an output folder to write elsewhere.
set -euo pipefail
uv=$1
out=${2:-requirements}
compile() { # name, then what to resolve
  local name=$1
  shift
  # --no-header and --no-emit-index-url: a pin names packages and hashes, never where they were fetched.
  "$uv" pip compile --quiet --generate-hashes --universal --python-version 3.12 --no-header --no-annotate --no-emit-index-url \
    --no-emit-package turnstream --no-emit-package turnstream-gateway --no-emit-package turnstream-worker \
    --no-emit-package turnstream-local --output-file "$out/$name.txt" "$@"
}
compile dev --group dev
compile gateway services/gateway/pyproject.toml --constraints "$out/dev.txt"
compile worker services/worker/pyproject.toml --constraints "$out/dev.txt"
compile local deploy/local/pyproject.toml --constraints "$out/dev.txt"
# The oldest client that speaks the Responses API: some tests run it in an environment of its own.
compile client-0.3.5 - <<<"llama-stack-client==0.3.5"
