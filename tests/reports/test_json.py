"""The JSON of a report: what the page shows, with the numbers behind it."""

import json
import math
import re
from dataclasses import dataclass, fields, replace

import made_runs
import pytest

from reports import html, view
from reports import json as report_json


@pytest.fixture(scope="module")
def report(run):
    return view.build(run)


@pytest.fixture(scope="module")
def found(report):
    return json.loads(report_json.render(report))


def test_golden_json(golden):
    golden("report.json", report_json.render(view.build(made_runs.two_cases())))


def test_every_field_of_the_view_model_is_there(report, found):
    assert set(found) == {"schema", *(field.name for field in fields(report))}
    assert found["schema"] == report_json.SCHEMA


def test_its_text_is_what_the_page_shows(report, found):
    page = html.render(report)
    cells = [
        cell
        for table in found["tables"]
        for section in table["sections"]
        for row in section["rows"]
        for name, cell in row["cells"].items()
        if name in table["columns"]
    ]
    assert len(cells) > 50
    for cell in cells:
        assert cell["value"] in page and cell["interval"] in page


def test_its_numbers_are_the_summaries_own(report, found):
    for table, plain in zip(report.tables, found["tables"], strict=True):
        rows = [row for section in plain["sections"] for row in section["rows"]]
        for row, told in zip(table.rows, rows, strict=True):
            assert set(told["summary"]["metrics"]) == set(row.summary.estimates)
            for name, estimate in row.summary.estimates.items():
                metric = told["summary"]["metrics"][name]
                assert (metric["value"], metric["low"]) == (estimate.value, estimate.low)
                assert tuple(metric["values"]) == row.summary.values[name]
    ratios = [one for table in report.comparisons for row in table.rows for one in row.found]
    told = [one for table in found["comparisons"] for row in table["rows"] for one in row["found"]]
    assert [one.verdict for one in ratios] == [one["verdict"] for one in told]
    assert [one.ratio and one.ratio.value for one in ratios] == [one["ratio"] for one in told]


def test_a_number_that_json_has_not_is_null(report):
    text = report_json.render(replace(report, seed=math.inf))
    assert json.loads(text)["seed"] is None


def test_an_object_that_is_no_part_of_a_view_model_is_refused(report):
    @dataclass(frozen=True)
    class Odd:
        path: object = object()

    with pytest.raises(TypeError, match="a view model holds a object"):
        report_json.render(replace(report, caveats=(Odd(),)))


def test_the_keys_of_numbers_are_documented(found):
    row = found["tables"][0]["sections"][0]["rows"][0]["summary"]
    metric = next(iter(row["metrics"].values()))
    one = found["comparisons"][0]["rows"][0]["found"][0]
    for name in (*row, *row["trials"], *metric, *one):
        assert re.search(rf"\b{name}\b", report_json.__doc__), name
