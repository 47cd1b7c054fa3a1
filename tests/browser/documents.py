"""The pages that are opened: every kind that bakeoff writes, with every section that it has.

They are made of the runs that the other tests of reports make up: the same truth, seen by a person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from made_runs import everything, failures, forty_cases, made, one_case

from reports import between_html, history_html, history_view, html, view
from reports.gate import html as gate_html
from results import between
from results.history import History
from results.store import Run


def history(evil: bool = False) -> str:
    module = made("test_history.py")
    values = [v * (1 if n < 12 else 0.9) for n, v in enumerate(module._noise(24))]
    name = module.EVIL if evil else "slower"
    series = module._series(values, backend=name, versions=["1"] * 12 + ["2"] * 12)
    surprise = module._series([*module._noise(20), 40.0], backend="jumped", lies=(name,))
    found = History(
        24, (series, surprise, module._series(module._noise(3), backend="new")), (name,)
    )
    return history_html.render(history_view.build(found))


def report(run: Run) -> str:
    return html.render(view.build(run))


def comparison() -> str:
    """Three runs, the last of another machine."""
    run = everything()
    other = replace(run, path=Path("runs/other"))
    away = replace(run, path=Path("runs/away"), info=replace(run.info, fingerprint="another"))
    return between_html.render([between.compare(run, other), between.compare(run, away)])


#: Name -> the page. `everything` holds each section once; the others hold what it can't.
PAGES: dict[str, Callable[[], str]] = {
    "everything": lambda: report(everything()),
    "failures": lambda: report(failures()),
    "one-case": lambda: report(one_case()),
    "forty-cases": lambda: report(forty_cases()),
    "gate-red": lambda: gate_html.render(made("gate/conftest.py").outcomes()["red"]),
    "gate-green": lambda: gate_html.render(made("gate/conftest.py").outcomes()["green"]),
    "gate-incomparable": lambda: gate_html.render(
        made("gate/conftest.py").outcomes()["incomparable"]
    ),
    "history": history,
    "comparison": comparison,
}
