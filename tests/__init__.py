"""The tests, in the rooms of the package; oracles.py, samples.py and interpreters.py are for what several share."""
