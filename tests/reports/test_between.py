"""Runs side by side on a page: a column each, ratios only where they mean something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_runs
from attacks import ATTACKS, everywhere

from reports import between as terminal
from reports import between_html, markdown
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


def with_another_setting() -> Run:
    """Loads, and the same ones with an option: two cases that have one name without it."""

    def told(case: Case) -> Case:
        return replace(case, settings={**case.settings, "options": {"n_batch": 64}})

    loads = made_runs.two_cases()
    trials = tuple(replace(t, id=f"o{t.id}", case=told(t.case)) for t in loads.info.trials)
    records = (replace(r, trial=f"o{r.trial}", case=told(r.case)) for r in loads.records)
    return replace(
        loads,
        records=(*loads.records, *records),
        info=replace(loads.info, trials=(*loads.info.trials, *trials)),
    )


def test_two_settings_of_one_engine_are_two_tasks() -> None:
    both = with_another_setting()
    found = between_html.build([between.compare(both, both)])
    titles = [task.title for task in found.tasks]
    assert len(titles) == 4 and sum("n_batch=64" in title for title in titles) == 2


def test_a_task_is_one_whatever_else_the_other_runs_hold() -> None:
    loads = named(made_runs.two_cases(), "loads")
    found = [between.compare(loads, run) for run in (named(with_another_setting(), "b"), loads)]
    page = between_html.build(found)
    assert len(page.tasks) == 2
    assert all(cell and cell.ratio for t in page.tasks for row in t.rows for cell in row.cells)
    told = [task.title for task in page.tasks]
    assert len(set(told)) == 2 and all("n_batch" not in title for title in told)
    assert [task.title for task in between_html.build(found[::-1]).tasks] == told
    assert any(
        f.startswith("only in the second") and "n_batch=64" in f for f in page.pairs[0].facts
    )
    for one in between.together(found):
        shown = terminal.markdown(one)
        assert all(f"### {markdown.escape(title)}\n" in shown for title in told)


def test_what_must_be_known_names_its_runs() -> None:
    loads = named(made_runs.two_cases(), "loads")
    away = named(loads, "away", fingerprint="another")
    alone = between_html.build([between.compare(loads, away)]).tasks[0].whys
    assert alone[0].startswith("incomparable: another machine")
    two = between_html.build([between.compare(loads, run) for run in (loads, away)]).tasks[0].whys
    assert two == (f"away: {alone[0]}",)
    both = [between.compare(loads, run) for run in (away, named(away, "far"))]
    assert between_html.build(both).tasks[0].whys == (f"away, far: {alone[0]}",)


def test_reasons_are_a_list_in_markdown() -> None:
    found = between.compare(RUN, named(RUN, "away", fingerprint="another"))
    lines = tuple(replace(line, why=f"reason {n}") for n, line in enumerate(found.lines))
    shown = terminal.markdown(replace(found, lines=lines)).splitlines()
    said = [line for line in shown if "reason" in line]
    assert len(said) == len(lines) > len({line.case.key for line in lines})
    assert all(line.startswith("- incomparable") for line in said)


def test_attacks_are_text() -> None:
    evil = named(everywhere(made_runs.everything(), ATTACKS, 0), "<script>alert(1)</script>")
    page = between_html.render([between.compare(evil, evil)])
    assert "<script" not in page and "<img" not in page and "\x1b" not in page
