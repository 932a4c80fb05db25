# Ultralytics DiffAttn - AGPL-3.0 License
"""What a detector is worth and what it costs: predictions, AP, intervals, corruptions, time and memory."""
