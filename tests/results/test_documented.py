"""docs/metrics.md defines everything that a report can show."""

from pathlib import Path
from typing import get_args

import pytest

from results.certificate import ITEMS, Grade
from results.comparison import HEADLINES, Verdict
from results.metrics import METRICS

TEXT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*METRICS, *ITEMS, *get_args(Grade), *get_args(Verdict)])
def test_every_metric_item_grade_and_verdict_is_named(name):
    assert f"`{name}`" in TEXT


def test_what_is_compared_is_a_metric_of_that_measure():
    for measure, names in HEADLINES.items():
        assert all(measure in METRICS[name].measures for name in names)
