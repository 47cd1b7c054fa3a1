"""The fixture `bakeoff_gate`, in a pytest of its own, with the fake engine in both arms."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

SCENARIO = """\
name: tiny
models: [tiny]
backends: [fake]
measures:
  - generate: {prompt_tokens: 8, output_tokens: 4}
plan: {requests: 1, warmup: 0, seed: 5, audit: false}
"""
MANIFEST = """\
id: tiny
name: Tiny
license: apache-2.0
context_length: 4096
tokenizer: fake
artifacts:
  fake: {format: fake, precision: f32, source: {path: weights.bin}}
"""
#: Margins that the same engine passes on any machine.
WIDE = "metrics: [decode_tok_s]\nmargin: {ignorable: 0.9, interest: 9}\nlooks: {blocks: [6, 10], alpha: 0.1}\nredo: 0\n"


@pytest.fixture
def place(pytester, monkeypatch):
    monkeypatch.setenv("BAKEOFF_CACHE", str(pytester.path / "cache"))
    (pytester.path / "models").mkdir()
    (pytester.path / "models" / "tiny.yaml").write_text(MANIFEST)
    (pytester.path / "models" / "weights.bin").write_bytes(b"the weights")
    (pytester.path / "scenario.yaml").write_text(SCENARIO)
    (pytester.path / "wide.yaml").write_text(WIDE)
    return pytester


def _run(place, call, *arguments):
    place.makepyfile(f"def test_gate(bakeoff_gate):\n    print(bakeoff_gate({call}))\n")
    return place.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_a_gate_that_passes_is_a_test_that_passes(place):
    done = _run(place, "'scenario.yaml', candidate='options.delay_s=0', policy='wide.yaml'", "-rP")
    done.assert_outcomes(passed=1, warnings=0)
    done.stdout.fnmatch_lines(["GREEN: *", "*'colour': 'green'*"])


def test_a_gate_that_fails_says_why_without_a_traceback(place):
    # A package of the user's with one of our names does not get in the way.
    (place.path / "results").mkdir()
    (place.path / "results" / "__init__.py").write_text("raise SystemExit('the wrong results')")
    done = _run(place, "'scenario.yaml', candidate='options.crash_at=1', policy='wide.yaml'")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["RED: *crashed*", "  RED *", "  report: *gate.html"])
    assert "Traceback" not in done.stdout.str() and "pytest_plugin.py" not in done.stdout.str()


def test_bad_input_fails_with_the_commands_own_message(place):
    done = _run(place, "'no-such.yaml', candidate=''")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["bakeoff gate could not judge (exit code 2)", "error: no-such.yaml*"]
    )
    assert "another exception" not in done.stdout.str()


#: A stand-in for the command: what the fixture makes of colours and exit codes.
STAND_IN = """\
import json, pathlib, sys
import harness.pytest_plugin as plugin
plugin._COMMAND = (sys.executable, "-c", '''
import json, pathlib, sys
given = dict(a.lstrip("-").split("=", 1) for a in sys.argv if a.startswith("--") and "=" in a)
folder = pathlib.Path(given["out"])
folder.mkdir()
found = {"colour": "COLOUR", "passed": PASSED, "sentence": "said", "findings":
    [{"colour": "yellow", "task": "t", "sentence": "s", "remedy": "do"}]}
(folder / "gate.json").write_text(json.dumps(found))
sys.exit(CODE)
''')
"""


@pytest.mark.parametrize(
    ("colour", "passed", "code", "outcome"),
    [
        ("green", True, 0, {"passed": 1}),
        ("yellow", True, 0, {"passed": 1, "warnings": 1}),
        ("yellow", False, 1, {"failed": 1}),
        ("incomparable", False, 1, {"failed": 1}),
        ("green", True, 1, {"failed": 1}),
        ("green", False, 0, {"failed": 1}),
    ],
)
def test_yellow_warns_and_nothing_that_fails_passes(place, colour, passed, code, outcome):
    text = STAND_IN.replace("COLOUR", colour).replace("PASSED", str(passed))
    place.makeconftest(text.replace("CODE", str(code)))
    done = _run(place, "'scenario.yaml', candidate='x=1'")
    done.assert_outcomes(**outcome)
    if outcome != {"passed": 1}:
        done.stdout.fnmatch_lines([f"*{colour.upper()}: said", "*YELLOW t: s → do"])
    if "warnings" in outcome:
        done.stdout.fnmatch_lines(["*BakeoffGateWarning: YELLOW: said"])


def test_several_gates_in_one_test_have_folders_of_their_own(place):
    place.makeconftest(
        STAND_IN.replace("COLOUR", "green").replace("PASSED", "True").replace("CODE", "0")
    )
    place.makepyfile(
        "def test_gate(bakeoff_gate):\n"
        "    for name in 'ab':\n"
        "        assert bakeoff_gate('scenario.yaml', candidate=name)['passed']\n"
    )
    place.runpytest_subprocess().assert_outcomes(passed=1)


def test_who_does_not_use_it_pays_for_no_import():
    heavy = ["results", "reports", "backends", "yaml", "rich", "typer", "pydantic", "numpy"]
    program = (
        "import sys, pytest; before = set(sys.modules); import harness.pytest_plugin\n"
        "print(sorted(m for m in set(sys.modules) - before if '.' not in m or 'harness' in m))\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    ours, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    assert "harness.pytest_plugin" in ours and "harness.cli" not in ours
