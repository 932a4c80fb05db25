# Ultralytics DiffAttn - AGPL-3.0 License
"""What attention looks at: maps of the objects of an image, as tensors, as pictures and as numbers."""
