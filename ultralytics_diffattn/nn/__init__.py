# Ultralytics DiffAttn - AGPL-3.0 License
"""Differential attention as modules, laid out as ultralytics' `nn`; nothing here knows of the rest of the package."""
