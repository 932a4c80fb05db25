"""`python scripts/train.py key=value ...`, the same as `diffattn train`."""

import sys

from ultralytics_diffattn.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
