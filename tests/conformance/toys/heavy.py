"""An adapter that imports a third party's package at its module level."""

import numpy  # noqa: F401

from toys.adapter import Toy


class ImportsAtOnce(Toy):
    """numpy comes with the adapter, wanted or not."""
