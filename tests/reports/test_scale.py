"""What keeps a report of ten thousand trials small and quick."""

from __future__ import annotations

import time
from dataclasses import replace

import large
import pytest

from reports import html, plots, raw, view
from results.records import Trial
from results.store import Run


def _grown(run: Run, times: int) -> Run:
    """The same run with that many times the trials."""
    trials = [
        replace(t, id=f"{t.id}-{n}", repetition=t.repetition + 3 * n)
        for n in range(times)
        for t in run.info.trials
    ]
    by_id = {record.trial: record for record in run.records}
    records = tuple(
        replace(by_id[old.id], trial=new.id, repetition=new.repetition)
        for old, new in zip([*run.info.trials] * times, trials, strict=True)
        if old.id in by_id
    )
    info = replace(run.info, trials=tuple(Trial(t.id, t.case, t.repetition) for t in trials))
    return Run(run.path, info, records, run.prompts)


def test_a_plot_draws_no_more_dots_than_can_be_told_apart(run: Run) -> None:
    large, larger = (html.render(view.build(_grown(run, times))) for times in (40, 60))
    assert "dots are 100 of up to 120 trials, extremes included" in large
    assert len(larger) < 1.02 * len(large)
    assert "extremes included" not in html.render(view.build(run))


def test_the_dots_that_are_drawn_keep_both_ends() -> None:
    drawn = plots._drawn([float(n) for n in range(5_000)][::-1])
    assert len(drawn) == 100 and (min(drawn), max(drawn)) == (0.0, 4999.0)


def test_a_report_is_built_once_for_all_its_formats(run: Run) -> None:
    copy = replace(run)
    assert view.build(run) is view.build(run) is not view.build(copy)


def test_sixty_cases_of_ten_trials_with_answers_side_by_side_stay_below_3_mb(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = large.make()
    begun = time.process_time()
    report = view.build(run)
    page = html.render(report)
    spent = time.process_time() - begun
    with capsys.disabled():
        print(f" {len(page.encode()) / 1e6:.2f} MB in {spent:.1f} s of CPU time ", end="")
    rows = [row for table in report.tables for row in table.rows]
    assert len(rows) == 60 and {row.ok for row in rows} == {"10/10"}
    assert page.count("from the first differing token") == 16
    assert len(page.encode()) < 3_000_000


def test_each_number_of_a_table_leads_to_the_trials_it_was_made_of(run: Run) -> None:
    report = view.build(run)
    page = html.render(report)
    for table in report.tables:
        for row, trials in zip(table.rows, report.trials_of[table.anchor], strict=True):
            assert page.count(f'id="{trials.anchor}"') == 1
            cells = [row.cells[metric.name] for metric in table.columns]
            assert page.count(f'href="#{trials.anchor}"') == 1 + len(cells)
            assert {one.trial for one in trials.trials} == {
                record.trial for record in row.summary.evidence.records
            }


def test_a_trial_shows_its_own_values_where_another_one_has_none(run: Run) -> None:
    """The second of three trials has no memory readings: nobody inherits a neighbour's."""
    lost = next(
        r for r in run.records if r.case.measure == "generate" and r.repetition == 1 and r.memory
    )
    records = tuple(replace(r, memory=None) if r is lost else r for r in run.records)
    report = view.build(replace(run, records=records))
    found = [
        (one, table.columns)
        for table in report.tables
        for case in report.trials_of[table.anchor]
        for one in case.trials
        if one.trial == lost.trial
    ]
    ((line, columns),) = found
    shown = dict(zip([metric.name for metric in columns], line.values, strict=True))
    assert shown["peak_rss_bytes" if "peak_rss_bytes" in shown else "peak_pss_bytes"] == "–"
    assert shown["decode_tok_s"] != "–"


def test_only_so_many_trials_of_a_case_are_listed(run: Run) -> None:
    report = view.build(_grown(run, 20))
    cases = [case for several in report.trials_of.values() for case in several]
    assert {len(case.trials) for case in cases} == {raw.MOST}
    assert {case.more for case in cases} == {60 - raw.MOST}
    assert "30 more in records.jsonl" in html.render(report)
