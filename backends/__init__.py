"""Talk to one engine: the contract in `api`, then one file per engine."""
