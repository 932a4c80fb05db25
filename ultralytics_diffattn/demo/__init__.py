# Ultralytics DiffAttn - AGPL-3.0 License
"""The page of `diffattn demo`: boxes of two models side by side, and what a box or a point attends to."""
