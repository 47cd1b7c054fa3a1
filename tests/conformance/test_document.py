"""docs/adapters.md shows the very adapter that conforms, and lists every check."""

from __future__ import annotations

import re
from pathlib import Path

from backends.conformance import CHECKS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "adapters.md"


def test_the_worked_example_is_the_adapter_that_is_tested() -> None:
    source = (Path(__file__).parent / "toys" / "adapter.py").read_text()
    shown = re.search(
        r"<!-- toy -->\n```python\n(.*?)```\n<!-- /toy -->", DOCUMENT.read_text(), re.DOTALL
    )
    assert shown is not None and shown[1] == source
    assert len(source.splitlines()) <= 80


def test_every_check_is_in_the_document_with_what_it_asks() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    asked = [(check.name, check.reason) for check in CHECKS]
    assert [row for row in listed if row[0] in dict(asked)] == asked
    assert all(len(reason) > 20 for _, reason in asked)


def test_the_feature_table_of_the_real_engines_has_every_check() -> None:
    text = (ROOT / "docs" / "engines.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [check.name for check in CHECKS], "make it anew: see the head of the document"
    assert "✗" not in "".join(re.findall(r"^\| `.*$", text, re.MULTILINE))
