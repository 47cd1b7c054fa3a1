"""A fake. See `mlc_fake`."""
