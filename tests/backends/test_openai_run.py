"""Whole runs against the lying server: each fault is a record, and no key is in any file."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from results import store

FAKE = Path(__file__).parent / "openai_fake" / "server.py"
COMMAND = (
    f"{shlex.quote(sys.executable)} {shlex.quote(str(FAKE))} --model {{model}} --port {{port}}"
)
BAKEOFF = Path(sys.executable).parent / "bakeoff"

MANIFEST = """\
id: tiny
name: Tiny
license: apache-2.0
context_length: 4096
tokenizer: gguf
artifacts:
  gguf: {format: gguf, precision: f32, source: {path: weights.bin}}
"""

#: Each fault, the status of its record and what its reason says.
RECORDS = {
    "dies": ("failed", "no such tensor"),
    "unhealthy": ("failed", "loading model"),
    "hangs": ("failed", "sent nothing for 4 s"),
    "drips": ("failed", "not done after 8 s"),
    "garbage": ("failed", "no JSON object"),
    "long_line": ("failed", "a line of over 1024 KiB"),
    "429": ("failed", "answered 429"),
    "500": ("failed", "answered 500"),
    "closes": ("failed", "closed the connection"),
    "cuts_chunk": ("failed", "closed the connection"),
    "no_done": ("failed", "without a word that it is done"),
    "redirects": ("failed", "not followed"),
    "content_type": ("failed", "application/json"),
    "two_in_one": ("failed", "holds 2 tokens"),
    "held_back": ("failed", "has made 2 tokens where 1 came"),
    "crashes": ("failed", "SIGSEGV"),
    "no_ids": ("unsupported", "gives no token id"),
    "sigterm": ("ok", ""),
}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.yaml").write_text(MANIFEST)
    (tmp_path / "models" / "weights.bin").write_bytes(b"the weights")
    return tmp_path


def _bakeoff(folder: Path, scenario: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "scenario.yaml").write_text(scenario)
    return subprocess.run(
        [str(BAKEOFF), "run", "scenario.yaml", "--out", "out"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80", "BAKEOFF_CACHE": str(folder / "cache"), **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _scenario(faults: list[str], options: str = "", plan: str = "requests: 2, audit: false") -> str:
    arms = "".join(
        f"  - openai: {{options: {{server: llama-server, start_timeout_s: 12, stall_timeout_s: 4, "
        f"request_timeout_s: 8{options}, command: {json.dumps(_command(fault))}}}}}\n"
        for fault in faults
    )
    return (
        f"name: faults\nmodels: [tiny]\nbackends:\n{arms}"
        "measures:\n  - generate: {prompt_tokens: 16, output_tokens: 4}\n"
        f"plan: {{trials: 1, warmup: 1, {plan}, trial_time_limit_s: 60}}\n"
    )


def _command(fault: str) -> str:
    return COMMAND + (f" --fault {fault}" if fault else "")


def test_every_fault_of_a_server_is_a_record_with_its_reason(workplace: Path) -> None:
    result = _bakeoff(workplace, _scenario(["", *RECORDS]))
    assert result.returncode == 3, result.stderr
    run = store.read(workplace / "out")
    assert run.missing == ()
    found = {}
    for record in run.records:
        command = str(record.case.settings["options"]["command"])
        found[command.rpartition("--fault ")[2] if "--fault" in command else ""] = record
    assert set(found) == {"", *RECORDS}
    assert found[""].status == "ok" and len(found[""].samples) == 3
    assert found[""].samples[0].claims["http_overhead_ms_per_token"] > 0
    assert found[""].engine is not None and found[""].engine.version == "llama-server b123"
    # The server's memory is in the tree of the worker that started it.
    memory = found[""].memory
    assert memory is not None and max(point.rss for point in memory.points) > 30e6
    for fault, (status, reason) in RECORDS.items():
        record = found[fault]
        assert record.status == status, (fault, record.reason)
        assert reason in (record.reason or ""), fault
        assert record.wall_s < 50, fault
    left = [
        p.pid
        for p in psutil.process_iter(["cmdline"])
        if str(FAKE) in (p.info["cmdline"] or ()) and str(workplace) in str(p.info["cmdline"])
    ]
    assert not left
    page = (workplace / "out" / "report.html").read_text()
    assert "no such tensor" in page and "answered 429" in page


def test_an_honest_server_passes_the_audit_and_its_reuse_is_caught(workplace: Path) -> None:
    result = _bakeoff(workplace, _scenario(["", "reuses"], plan="requests: 2"))
    run = store.read(workplace / "out")
    audits = {
        "reuses" in str(r.case.settings["options"]["command"]): r
        for r in run.records
        if r.case.measure == "audit"
    }
    assert audits[False].status == audits[True].status == "ok", result.stdout
    assert audits[False].engine is not None
    assert audits[False].engine.version == "llama-server b123", "told once it runs"
    honest = {check.name: check.passed for check in audits[False].checks}
    told = ("forced_length", "stop_ids_honoured", "prompt_evaluated", "text_matches_ids")
    assert [honest[name] for name in told] == [True] * 4
    assert honest["prefix_not_reused"] is honest["one_token_at_a_time"] is True
    lying = {check.name: check.passed for check in audits[True].checks}
    assert lying["prefix_not_reused"] is False


def test_a_key_is_in_no_file_of_a_run(workplace: Path) -> None:
    scenario = _scenario(["", "echoes_key"], ", api_key_env: BAKEOFF_API_KEY")
    result = _bakeoff(workplace, scenario, BAKEOFF_API_KEY="sesame-77", OPENAI_API_KEY="other-88")
    run = store.read(workplace / "out")
    assert sorted(r.status for r in run.records) == ["failed", "ok"], result.stdout
    (failed,) = [r for r in run.records if r.status == "failed"]
    assert "bad key Bearer [key]" in str(failed.reason)
    assert "sesame" not in result.stdout + result.stderr
    for path in (workplace / "out").rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes(), path
