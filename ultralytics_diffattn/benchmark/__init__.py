# Ultralytics DiffAttn - AGPL-3.0 License
"""What differential attention costs beside plain attention: what is measured, and the report."""
