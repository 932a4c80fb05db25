#!/usr/bin/env bash
# Build wheel and sdist into dist/, and run the README's example from the wheel alone, in an empty environment and folder:
# `bash scripts/release.sh v0.1.0`. Publishing is the workflow's: .github/workflows/release.yml.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' ultralytics_diffattn/version.py)
if [ "${1-}" != "v$version" ]; then
  echo "the tag is '${1-}', the version is $version: tag v$version, or mend ultralytics_diffattn/version.py" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf dist
python3 -m venv "$work/build"
"$work/build/bin/pip" install -q build twine
"$work/build/bin/python" -m build --outdir dist .
"$work/build/bin/twine" check --strict dist/*

python3 -m venv "$work/empty"
"$work/empty/bin/pip" install -q dist/*.whl
example=$(grep -m1 '^python3 -m venv .*yolo train' README.md)
words=${example##*.venv/bin/yolo }
cd "$work" # where there is no checkout: the model is found by its bare name
# shellcheck disable=SC2086
YOLO_CONFIG_DIR="$work" "$work/empty/bin/yolo" ${words/cfg\//} "project=$work/runs"
"$work/empty/bin/diffattn" help
