"""A toy engine's adapter, as docs/adapters.md shows it, and broken ones: one fault each."""
