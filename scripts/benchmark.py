"""`python scripts/benchmark.py key=value ...`, the same as `diffattn bench`."""

import sys

from ultralytics_diffattn.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
