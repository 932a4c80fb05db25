"""`python scripts/compare.py key=value ...`, the same as `diffattn compare`."""

import sys

from ultralytics_diffattn.cli import main

sys.exit(main(["compare", *sys.argv[1:]]))
