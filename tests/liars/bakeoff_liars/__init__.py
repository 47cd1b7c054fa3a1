"""The liars' gallery: each engine here tells one lie, and is honest otherwise."""
