"""`python scripts/export.py key=value ...`, the same as `diffattn export`."""

import sys

from ultralytics_diffattn.cli import main

sys.exit(main(["export", *sys.argv[1:]]))
