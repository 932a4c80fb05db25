"""`python scripts/val.py key=value ...`, the same as `diffattn val`."""

import sys

from ultralytics_diffattn.cli import main

sys.exit(main(["val", *sys.argv[1:]]))
