"""What transformers itself says about how the adapter calls it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest

from backends.api import Artifact, LoadOptions, Request
from backends.transformers import Transformers

pytestmark = [
    pytest.mark.engine,
    # What its own imports warn of is not ours to mend.
    pytest.mark.filterwarnings("default"),
]


def test_nothing_of_the_engine_that_is_called_is_about_to_go(
    tiny_for: Callable[[str], Artifact],
) -> None:
    """A warning for every token would also be timed as the engine's work."""
    backend = Transformers()
    backend.load(tiny_for("hf"), LoadOptions(64, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(backend.generate(Request((1, 2, 3), 4)))) == 4
    backend.close()
