"""The gate: two arms of one scenario, run block by block until it is clear which is slower."""
