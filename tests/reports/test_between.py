"""Runs side by side on a page: a column each, ratios only where they mean something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_runs
from attacks import ATTACKS, everywhere

from reports import between_html
from results import between
from results.records import Case
from results.store import Run

RUN = made_runs.speed()


def named(run: Run, name: str, **info: object) -> Run:
    return replace(run, path=Path(name), info=replace(run.info, **info))


def test_each_run_is_a_column_beside_the_first() -> None:
    only_load = named(made_runs.two_cases(), "loads")
    found = between_html.build(
        [between.compare(RUN, named(RUN, "again")), between.compare(RUN, only_load)]
    )
    assert [pair.name for pair in found.pairs] == ["again", "loads"]
    rows = {(task.title, row.metric): row for task in found.tasks for row in task.rows}
    both = rows["llamacpp gguf-f32, load warm", "load"]
    assert [cell and cell.value for cell in both.cells] == [both.first, both.first]
    assert both.cells[0] and both.cells[0].ratio.startswith("1.00×")
    one = next(row for (title, _), row in rows.items() if "generate" in title)
    assert one.cells[0] is not None and one.cells[1] is None
    assert any("only in the first: llamacpp gguf-f32, generate" in f for f in found.pairs[1].facts)


def test_two_machines_have_no_ratio_and_are_told_to_meet() -> None:
    away = named(RUN, "away", fingerprint="another")
    page = between_html.render([between.compare(RUN, away)])
    assert "Incomparable timings: the runs are of two machines" in page
    assert "1.00×" not in page and "bakeoff gate" in page


def test_two_models_are_told_apart() -> None:
    other = [replace(r, case=replace(r.case, model="other")) for r in RUN.records]
    trials = [replace(t, case=replace(t.case, model="other")) for t in RUN.info.trials]
    both = replace(
        RUN,
        records=(*RUN.records, *(replace(r, trial=f"o{r.trial}") for r in other)),
        info=replace(
            RUN.info, trials=(*RUN.info.trials, *(replace(t, id=f"o{t.id}") for t in trials))
        ),
    )
    found = between_html.build([between.compare(both, both)])
    titles = [task.title for task in found.tasks]
    assert len(set(titles)) == len(titles)
    assert any(t.startswith("other: llamacpp gguf-f32, load") for t in titles)


def test_two_settings_of_one_engine_are_two_tasks() -> None:
    def told(case: Case) -> Case:
        return replace(case, settings={**case.settings, "options": {"n_batch": 64}})

    loads = made_runs.two_cases()
    both = replace(
        loads,
        records=(
            *loads.records,
            *(replace(r, trial=f"o{r.trial}", case=told(r.case)) for r in loads.records),
        ),
        info=replace(
            loads.info,
            trials=(
                *loads.info.trials,
                *(replace(t, id=f"o{t.id}", case=told(t.case)) for t in loads.info.trials),
            ),
        ),
    )
    found = between_html.build([between.compare(both, both)])
    titles = [task.title for task in found.tasks]
    assert len(titles) == 4 and sum("n_batch=64" in title for title in titles) == 2


def test_attacks_are_text() -> None:
    evil = named(everywhere(made_runs.everything(), ATTACKS, 0), "<script>alert(1)</script>")
    page = between_html.render([between.compare(evil, evil)])
    assert "<script" not in page and "<img" not in page and "\x1b" not in page
