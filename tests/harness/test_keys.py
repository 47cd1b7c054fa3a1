"""What a worker says and prints holds no key, whatever its adapter raises."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness import supervisor
from harness.places import ROOT
from harness.worker import main

KEY = "sk-sesame-77"
LEAKY = """
import os
from backends.api import Availability, {error}

class Leaky:
    name, formats = "leaky", frozenset({{"leaky"}})

    def probe(self):
        return Availability("1")

    def load(self, artifact, options):
        key = os.environ[options.extra["api_key_env"]]
        raise {error}(f"Invalid header value {{('Bearer ' + key).encode()!r}}")
"""


@pytest.mark.parametrize("error", ["GenerationFailed", "Unsupported", "ValueError"])
@pytest.mark.parametrize("end", ["", "\r", "\n"])
def test_a_key_that_an_adapter_quotes_is_in_no_reason_and_in_no_log(
    tmp_path: Path, error: str, end: str
) -> None:
    source = LEAKY.format(error=error)
    if error == "ValueError":
        source = source.replace(", ValueError", "")
    (tmp_path / "leaky.py").write_text(source)
    job = {
        "job": "trial",
        "backend": "leaky:Leaky",
        "packages": {"harness": str(ROOT), "backends": str(ROOT), "leaky": str(tmp_path)},
        "artifact": {"model": "m", "name": "a", "format": "leaky", "path": str(tmp_path)},
        "options": {"context": 8, "threads": 1, "extra": {"api_key_env": "BAKEOFF_API_KEY"}},
    }
    outcome = supervisor.run(
        job,
        interpreter=sys.executable,
        environment={**os.environ, "BAKEOFF_API_KEY": KEY + end},
        log=tmp_path / "log",
        limit_s=60.0,
    )
    assert outcome.end is not None and "Bearer [key]" in outcome.end["reason"]
    assert outcome.end["status"] == ("unsupported" if error == "Unsupported" else "failed")
    assert "sesame" not in str(outcome.messages) + (tmp_path / "log").read_text()
    if error == "ValueError":
        assert "Traceback" in outcome.log_tail


def test_a_key_that_is_too_short_does_not_garble_the_words_that_refuse_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = {"options": {"extra": {"api_key_env": "BAKEOFF_API_KEY"}}}
    for told, kept in (("e", ""), (KEY, KEY)):
        monkeypatch.setenv("BAKEOFF_API_KEY", told)
        assert main._key(job) == kept
