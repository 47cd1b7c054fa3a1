"""What a worker says goes to a file line by line, whatever it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.session import _output


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ({"sample": {"index": 3}, "text": "hello"}, {"sample": 3, "text": "hello"}),
        ({"sample": {"index": 3}, "text": "a\nb\ud800"}, {"sample": 3, "text": "a\nb\ud800"}),
        ({"sample": None}, {"sample": None, "text": None}),
        ({"sample": [1], "text": 7}, {"sample": None, "text": 7}),
        ({}, {"sample": None, "text": None}),
    ],
)
def test_one_line_of_plain_json(message: dict[str, Any], kept: dict[str, Any]) -> None:
    line = _output({"kind": "sample", **message})
    assert "\n" not in line
    line.encode("ascii")
    assert json.loads(line) == kept
