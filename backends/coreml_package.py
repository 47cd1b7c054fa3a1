"""A Core ML artifact: a stateful language model, with its tokenizer and its config beside it.

    folder/
      model.mlpackage
      tokenizer.json, config.json            as in the Hugging Face folder it was converted from

The model takes `inputIds`, int32 (1, n), and `causalMask`, float16 (1, 1, n, past + n), gives
`logits` (1, n, vocabulary), and keeps `keyCache` and `valueCache` as states: the names that Apple's
published conversions use.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.api import LoadFailed

IDS, MASK, LOGITS = "inputIds", "causalMask", "logits"
STATES = ("keyCache", "valueCache")
MODEL = "model.mlpackage"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@dataclass(frozen=True)
class Package:
    model: Path
    tokenizer: Path
    vocabulary: int
    context: int
    ends: frozenset[int]


def read(path: Path) -> Package:
    """Raises LoadFailed."""
    if not (path / MODEL / WEIGHTS).is_file():
        raise LoadFailed(path, f"no {MODEL} with weights in it")
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
        ends = config.get("eos_token_id")
        return Package(
            model=path / MODEL,
            tokenizer=path / "tokenizer.json",
            vocabulary=int(config["vocab_size"]),
            context=int(config["max_position_embeddings"]),
            ends=frozenset([ends] if isinstance(ends, int) else ends or ()),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadFailed(path, f"no usable config.json: {error!r}") from error


def step(path: Path, spec: Any, context: int) -> int:
    """The most tokens of one prediction. Raises LoadFailed for a model of another interface.

    `spec` is coremltools' protobuf of the model.
    """
    described = spec.description
    inputs = {one.name: one.type.multiArrayType for one in described.input}
    outputs = {one.name for one in described.output}
    states = {one.name for one in described.state}
    if set(inputs) != {IDS, MASK} or LOGITS not in outputs or states != set(STATES):
        raise LoadFailed(
            path,
            f"expected inputs {IDS} and {MASK}, output {LOGITS} and states {', '.join(STATES)}; "
            f"it has {sorted(inputs)}, {sorted(outputs)} and {sorted(states)}",
        )
    low, high = _bounds(inputs[MASK], 3)
    if low != 1 or high < context:
        raise LoadFailed(path, f"{MASK} has a length of {low} to {high}: expected 1 to {context}")
    return min(_bounds(inputs[IDS], 1)[1], _bounds(inputs[MASK], 2)[1])


def _bounds(array: Any, axis: int) -> tuple[int, int]:
    """Least and most of one axis; without an upper bound Core ML says -1."""
    ranges = array.shapeRange.sizeRanges
    if len(ranges) <= axis:
        size = int(array.shape[axis])
        return size, size
    low, high = int(ranges[axis].lowerBound), int(ranges[axis].upperBound)
    return low, 2**31 if high < 0 else high
