# Ultralytics DiffAttn - AGPL-3.0 License
"""Checkpoints: reading and writing them, and carrying their tensors over into models of ours."""
