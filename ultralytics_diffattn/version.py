# Ultralytics DiffAttn - AGPL-3.0 License
"""The version of this package."""

__version__ = "0.1.0"
