# Ultralytics DiffAttn - AGPL-3.0 License
"""Data sets: finding, checking and converting them, and the one that is bundled."""
