# Ultralytics DiffAttn - AGPL-3.0 License
"""A comparison of models: what is trained, one run after another, its results, and what shows them."""
