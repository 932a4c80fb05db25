# Ultralytics DiffAttn - AGPL-3.0 License
"""The verbs of the `diffattn` command, a file for each."""
