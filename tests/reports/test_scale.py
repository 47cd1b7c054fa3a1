"""What keeps a report of ten thousand trials small and quick."""

from __future__ import annotations

from dataclasses import replace

from reports import html, plots, view
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
