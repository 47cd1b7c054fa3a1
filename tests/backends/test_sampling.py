"""The filters and the draw of adapters whose engine ends at the logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy
import pytest

from backends import sampling as sampler
from backends.api import Sampling, Unsupported

SHARES = [0.5, 0.25, 0.15, 0.1]
ROW = numpy.log(numpy.array(SHARES, numpy.float32))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0.5}, [0.7246, 0.1812, 0.0652, 0.0290]),
        ({"top_k": 2}, [0.6667, 0.3333, 0, 0]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_p": 0.51}, [0.6667, 0.3333, 0, 0]),
        ({"min_p": 0.25}, [0.5556, 0.2778, 0.1667, 0]),
    ],
)
def test_filters_leave_the_distribution_that_they_should(
    told: Mapping[str, float], expected: list[float]
) -> None:
    sampling = Sampling(**{"temperature": 1.0, **told})  # type: ignore[arg-type]
    found = sampler.probabilities(numpy, sampling, [], ROW)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(temperature=1.3, top_k=5),
        Sampling(temperature=1.0, top_p=0.6),
        Sampling(temperature=2.0, min_p=0.2),
        Sampling(temperature=1.0, repetition_penalty=1.8),
        Sampling(temperature=1.5, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.3),
    ],
)
def test_the_filters_are_those_of_transformers(sampling: Sampling) -> None:
    torch = pytest.importorskip("torch", reason="pip install 'bakeoff[transformers]'")
    library = pytest.importorskip("transformers", reason="pip install 'bakeoff[transformers]'")
    from backends.transformers import _probabilities

    logits = torch.randn(200, generator=torch.Generator().manual_seed(3)) * 4
    ids = [5, *logits.topk(3).indices.tolist()]
    wanted = _probabilities(torch, library, sampling)(torch.tensor([ids]), logits[None])[0].numpy()
    found = sampler.probabilities(numpy, sampling, ids, logits.numpy())
    assert found == pytest.approx(wanted, abs=1e-6)
    assert found != pytest.approx(torch.softmax(logits, -1).numpy(), abs=1e-3)


def test_the_penalty_weakens_what_was_there() -> None:
    logits = numpy.array([2.0, -2.0, 1.0], numpy.float32)
    told = Sampling(repetition_penalty=2.0)
    assert list(sampler.penalised(numpy, told, [0, 1, 0], logits)) == [1.0, -4.0, 1.0]
    assert list(logits) == [2.0, -2.0, 1.0]


def test_draws_follow_the_distribution() -> None:
    told = Sampling(temperature=1.0)
    drawn = [sampler.picker(numpy, replace(told, seed=seed))([], ROW) for seed in range(400)]
    assert [drawn.count(i) / 400 for i in range(4)] == pytest.approx(SHARES, abs=0.1)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: int) -> None:
    with pytest.raises(Unsupported, match=f"seed {seed}"):
        sampler.picker(numpy, Sampling(temperature=1.0, seed=seed))
