"""A third party's package, known to bakeoff through its entry points only."""
