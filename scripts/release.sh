#!/usr/bin/env bash
# Build wheel and sdist into dist/ and check both: `bash scripts/release.sh 0.1.0`. Publishing is the workflow's:
# .github/workflows/release.yml, docs/releasing.md.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' ultralytics_diffattn/version.py)
if [ "${1-}" != "$version" ]; then
  echo "'${1-}' is not the version of this checkout, $version: python scripts/version.py makes it another one" >&2
  exit 1
fi
if ! grep -q "^## $version - [0-9]\{4\}-[0-9][0-9]-[0-9][0-9]$" CHANGELOG.md; then
  echo "CHANGELOG.md has no section '## $version - DATE': python scripts/version.py $version writes it" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf dist
python3 -m venv "$work/build"
"$work/build/bin/pip" install -q build twine check-wheel-contents
"$work/build/bin/python" -m build --outdir dist . # the wheel is built from the sdist
"$work/build/bin/twine" check --strict dist/*
"$work/build/bin/check-wheel-contents" dist/*.whl
