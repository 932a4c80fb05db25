#!/usr/bin/env bash
# Install a wheel beside ultralytics with pip, uv or pipx, as docs/compatibility.md says, and run the README's training
# in an empty folder: `bash scripts/try_wheel.sh pipx dist/*.whl`. PYTHON=python3.14 chooses another Python.
set -euo pipefail
readme="$(cd "$(dirname "$0")/.." && pwd)/README.md"
tool=${1-} wheel=$(realpath "${2-}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" # where there is no checkout: the model is found by its bare name
export PIPX_HOME="$work/home" PIPX_BIN_DIR="$work/bin" UV_TOOL_DIR="$work/home" UV_TOOL_BIN_DIR="$work/bin"
export YOLO_CONFIG_DIR="$work"
python=${PYTHON-python3}
case $tool in
  pip) "$python" -m venv "$work" && bin/pip install -q "$wheel" ;;
  uv) uv tool install -q --python "$python" --with-executables-from "ultralytics-diffattn @ file://$wheel" ultralytics ;;
  pipx) pipx install -q --python "$python" ultralytics && pipx inject -q --include-apps ultralytics "$wheel" ;;
  *) echo "'$tool' is none of pip, uv and pipx" >&2 && exit 1 ;;
esac

example=$(grep -m1 '^python3 -m venv .*yolo train' "$readme")
words=${example##*.venv/bin/yolo }
# shellcheck disable=SC2086
bin/yolo ${words/cfg\//} "project=$work/runs"
bin/diffattn help
