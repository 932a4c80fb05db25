# Ultralytics DiffAttn - AGPL-3.0 License
"""How stock ultralytics comes to know this package's modules."""
