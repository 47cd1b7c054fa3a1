"""The gate: a candidate against a base, both run in one session, block by block."""
