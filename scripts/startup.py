# Ultralytics DiffAttn - AGPL-3.0 License
"""Measure what the installed package adds to the start of an interpreter: `python scripts/startup.py`."""

import re
import statistics
import subprocess
import sys

REPEATS = 50


def measure() -> tuple[float, list[str]]:
    """Return the milliseconds that one start spends in our import, by `-X importtime`, and the modules it adds."""
    report = subprocess.run([sys.executable, "-X", "importtime", "-c", "pass"], capture_output=True, text=True).stderr
    rows = re.findall(r"\|\s+(\d+) \|\s*(ultralytics_diffattn\S*)", report)
    if not rows:
        raise SystemExit("ultralytics_diffattn is not loaded at start: install it with pip, unset DIFFATTN_AUTOLOAD.")
    return max(int(microseconds) for microseconds, _ in rows) / 1000, [name for _, name in rows]


if __name__ == "__main__":
    times, modules = zip(*(measure() for _ in range(REPEATS)), strict=True)
    low, median, high = statistics.quantiles(times, n=4)
    print(f"{sys.version.split()[0]}: {median:.2f} ms ({low:.2f} to {high:.2f} in half of {REPEATS} starts)")
    print(f"{len(modules[0])} modules: {', '.join(modules[0])}")
