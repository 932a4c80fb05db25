# Ultralytics DiffAttn - AGPL-3.0 License
"""The colours of lines in pictures."""

COLOURS = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"  # of Okabe and Ito, for all eyes
