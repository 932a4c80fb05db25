# Ultralytics DiffAttn - AGPL-3.0 License
"""Numerical behaviour of attention: errors in narrow types, and spikes of the gradient."""
