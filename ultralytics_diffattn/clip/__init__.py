# Ultralytics DiffAttn - AGPL-3.0 License
"""DiffCLIP, the dual encoder of images and words, and what is done with it; needs `ultralytics-diffattn[clip]`."""
