# Ultralytics DiffAttn - AGPL-3.0 License
"""How results are written: files, Markdown, numbers, pages and the folders of runs."""
