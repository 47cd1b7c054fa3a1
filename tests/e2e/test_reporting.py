"""What a user does with a run that is there: report, compare, open."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

ONE = """\
name: one
models: [tiny]
backends: [fake]
measures:
  - generate: {prompt_tokens: 8, output_tokens: 4}
plan: {trials: 2, requests: 2, audit: false}
"""


@pytest.fixture(scope="module")
def done(make):
    """Two runs, `runs/a` and then `runs/b`."""

    def work(workplace) -> None:
        path = workplace.write(ONE)
        for name in ("a", "b"):
            ended = workplace.here("run", path, "--out", f"runs/{name}")
            assert ended.returncode == 0, ended.stderr

    return make(work)


@pytest.fixture
def browser(tmp_path, monkeypatch):
    """A browser that writes the address it is to show to a file. Python looks for one only once in
    a process: a test needs a command in a process of its own."""
    shown = tmp_path / "shown"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" >> {shown}\n')
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{script} %s")
    return shown


def test_json_and_plots_are_written_on_request(done) -> None:
    workplace = done.again()
    ended = workplace.here("report", "runs/a", "--format", "json", "--plots", "svg, png")
    assert ended.returncode == 0, ended.stderr
    folder = workplace.folder / "runs" / "a"
    found = json.loads((folder / "report.json").read_text())
    assert found["title"] == "one" and found["trials"] == "2 of 2 trials ok"
    plots = sorted(path.name for path in (folder / "plots").iterdir())
    assert "task-1-decode_tok_s.png" in plots and "task-1-decode_tok_s.svg" in plots
    assert all(f"plots/{name}" in ended.stdout for name in plots)


def test_an_unknown_kind_of_plot_is_refused(done) -> None:
    ended = done.again().here("report", "runs/a", "--plots", "pdf")
    assert ended.returncode == 2
    assert "unknown format 'pdf'" in ended.stderr and "png, svg" in ended.stderr


def test_several_runs_are_compared_with_the_first(done) -> None:
    workplace = done.again()
    ended = workplace.here("report", "runs/a", "runs/b", "runs/a")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Described, not judged") == 2
    assert ended.stdout.index("second: runs/b") < ended.stdout.index("second: runs/a")
    assert ended.stdout.count("first:  runs/a") == 2
    refused = workplace.here("report", "runs/a", "runs/b", "--format", "csv")
    assert refused.returncode == 2 and "go with one run" in refused.stderr
    files = ("--markdown", "c.md", "--html", "pages/c.html")
    written = workplace.here("compare", "runs/a", "runs/b", "runs/a", *files)
    assert written.returncode == 0
    page = (workplace.folder / "pages" / "c.html").read_text()
    assert page.count("Described, not judged") == 2 and "<script" not in page
    unwritable = workplace.here("compare", "runs/a", "runs/b", "--html", "c.md/c.html")
    assert unwritable.returncode == 2
    assert unwritable.stderr == "error: c.md: File exists\n  → name another place\n"
    assert (workplace.folder / "c.md").read_text().count("## Described") == 2


def test_open_shows_the_page_of_the_newest_run_in_a_browser(done, browser) -> None:
    workplace = done.again()
    page = workplace.folder / "runs" / "b" / "report.html"
    ended = workplace.bakeoff("open")
    assert (ended.returncode, ended.stdout) == (0, "runs/b/report.html\n"), ended.stderr
    assert browser.read_text() == f"{page.resolve().as_uri()}\n"


def test_open_makes_a_page_that_is_missing_or_older_than_the_records(done, browser) -> None:
    workplace = done.again()
    folder = workplace.folder / "runs" / "a"
    page = folder / "report.html"
    page.unlink()
    assert workplace.bakeoff("open", "runs/a").returncode == 0
    assert page.stat().st_size > 0
    page.write_text("old")
    later = time.time() + 100
    os.utime(folder / "records.jsonl", (later, later))
    assert workplace.bakeoff("open", "runs/a").returncode == 0
    assert page.read_text().startswith("<!doctype html>")
    assert len(browser.read_text().splitlines()) == 2


@pytest.fixture
def unwritable(done):
    """The run `a`, whose page nobody can write, root neither, and which is older than the records."""
    workplace = done.again()
    folder = workplace.folder / "runs" / "a"
    (folder / ".report.html.part").mkdir()
    later = time.time() + 100
    os.utime(folder / "records.jsonl", (later, later))
    return workplace


def test_what_cannot_be_written_is_an_error_that_names_it(unwritable) -> None:
    for command in (("report", "runs/a"), ("report", "runs/a", "--format", "csv,html")):
        ended = unwritable.here(*command)
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: runs/a/report.html: Is a directory\n  → ")
    (unwritable.folder / "file").write_text("")
    for command in (
        ("history", "runs", "--out", "file"),
        ("export", "runs/a", "--out", "file/b.json"),
        ("report", "runs/a", "--format", "csv", "--plots", "svg"),
        ("baseline", "save", "runs/a", "--out", "file/b.json"),
        ("run", "scenario.yaml", "--out", "file/b"),
    ):
        (unwritable.folder / "runs" / "a" / "plots").write_text("")
        ended = unwritable.here(*command)
        assert ended.returncode == 2, command
        assert ended.stderr.splitlines()[-2].startswith("error: "), ended.stderr
        assert ": File exists" in ended.stderr or ": Not a directory" in ended.stderr
        assert "→ name another place" in ended.stderr


def test_open_shows_an_old_page_where_no_new_one_can_be_written(unwritable, browser) -> None:
    page = unwritable.folder / "runs" / "a" / "report.html"
    ended = unwritable.bakeoff("open", "runs/a")
    assert (ended.returncode, ended.stdout) == (0, "runs/a/report.html\n")
    assert "older than its run: no new one can be written: Is a directory" in ended.stderr
    assert browser.read_text() == f"{page.resolve().as_uri()}\n"
    page.unlink()
    assert unwritable.here("open", "runs/a").returncode == 2


def test_a_hostile_record_cannot_write_to_the_terminal(done) -> None:
    workplace = done.again()
    records = workplace.folder / "runs" / "a" / "records.jsonl"
    first, *others = records.read_text().splitlines()
    for key in ("\x1b]0;owned\x07\x1b[2J", "\u202e\n" * 30):
        hostile = json.loads(first)
        hostile["samples"][0][key] = 1
        records.write_text("\n".join([json.dumps(hostile), *others]) + "\n")
        for command in (("report",), ("open",), ("compare", "runs/b")):
            ended = workplace.here(*command, "runs/a")
            assert ended.returncode == 2
            assert "records.jsonl:1: not a record: samples: Object contains" in ended.stderr
            assert not set(ended.stdout + ended.stderr) & set("\x1b\x07\u202e")


def test_a_reader_that_has_left_ends_it_quietly(done) -> None:
    workplace = done.again()
    for command in (("plan", "scenario.yaml"), ("report", "runs/a"), ("schema",)):
        reads, writes = os.pipe()
        os.close(reads)
        with os.fdopen(writes, "wb") as nobody:
            ended = subprocess.run(
                workplace.command(*command),
                cwd=workplace.folder,
                env=workplace.environment,
                stdout=nobody,
                stderr=subprocess.PIPE,
                check=False,
                timeout=120,
            )
        assert (ended.returncode, ended.stderr) == (141, b"")


def test_open_prints_the_path_where_there_is_no_screen(done, monkeypatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    ended = done.again().here("open", "runs/a")
    assert (ended.returncode, ended.stdout) == (0, "runs/a/report.html\n")
    assert "no browser can be opened here" in ended.stderr


def test_open_says_what_to_do_without_a_run(workplace) -> None:
    nothing = workplace.here("open")
    assert nothing.returncode == 2
    assert "runs/ holds no run" in nothing.stderr and "bakeoff run quickstart" in nothing.stderr
    wrong = workplace.here("open", "models")
    assert wrong.returncode == 2 and "is not a run folder" in wrong.stderr
