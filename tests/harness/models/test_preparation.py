"""An artifact is made once, made again when its recipe changes, and never taken half made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import models, places
from harness.errors import PrepareFailed
from harness.models import cache as cache_module
from harness.models import child, conversions

CHAIN = """
base: {format: gguf, precision: q8_0, source: {path: base.gguf}}
twice: {format: gguf, precision: f32, from: base, with: double}
lossy: {format: gguf, precision: q4_0, from: twice, with: double, options: {more: 1}}
"""

DRIVER = """
import sys
from pathlib import Path
from harness import models
from harness.models.conversions import CONVERSIONS, Conversion
CONVERSIONS["double"] = Conversion("double", Path(sys.argv[2]) / "double.py", "gguf", "gguf", folder=False)
found = models.find(sys.argv[1], Path("/"))
print(models.prepare(found, sys.argv[3]).facts.sha256)
"""


def drive(manifest: models.Manifest, double: Any, artifact: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(manifest.file), str(double.folder), artifact],
        env={**os.environ, "PYTHONPATH": str(places.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # In the background Ctrl-C is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except OSError:
        return True


def leftovers(cache: Path) -> list[str]:
    """Everything but locks, logs and provenance."""
    return sorted(
        p.name
        for p in (cache / "models" / "m").iterdir()
        if p.suffix not in (".lock", ".log", ".json")
    )


def test_a_chain_is_made_once_and_keeps_its_weights_name(
    write: Any, double: Any, base: Path
) -> None:
    manifest = write(CHAIN)
    assert not models.is_prepared(manifest, "lossy")
    prepared = models.prepare(manifest, "lossy")
    assert prepared.artifact.path.read_bytes() == b"weights" * 4
    assert prepared.facts.sha256 == hashlib.sha256(b"weights" * 4).hexdigest()
    assert prepared.facts.bytes == 28
    assert prepared.facts.weights == "m/lossy"
    assert models.prepare(manifest, "twice").facts.weights == "m/base"
    assert models.is_prepared(manifest, "lossy")
    assert models.prepare(manifest, "lossy") == prepared
    assert [run["options"] for run in double.runs] == [
        {"precision": "f32"},
        {"precision": "q4_0", "more": 1},
    ]


def test_provenance_says_from_what_by_what_and_nothing_of_this_machine(
    write: Any, double: Any, base: Path, cache: Path
) -> None:
    facts = models.prepare(write(CHAIN), "lossy").facts
    recipe = facts.provenance["recipe"]
    assert recipe == {
        "from": "twice",
        "from_sha256": hashlib.sha256(b"weights" * 2).hexdigest(),
        "with": "double",
        "options": {"precision": "q4_0", "more": 1},
        "script_sha256": hashlib.sha256((double.folder / "double.py").read_bytes()).hexdigest(),
        "tool": "double",
        "versions": {"doubler": "1.0"},
    }
    assert facts.provenance["origin"] == {
        "artifact": "base",
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "source": {"path": "base.gguf"},
    }
    assert str(cache.parent) not in json.dumps(facts.provenance)
    on_disk = json.loads((cache / "models/m/lossy.provenance.json").read_text())
    assert on_disk["sha256"] == facts.sha256
    assert on_disk["recipe"] == recipe


def test_it_is_made_again_when_versions_script_options_or_input_change(
    write: Any, double: Any, base: Path
) -> None:
    def made() -> int:
        manifest = write(CHAIN)
        was_there = models.is_prepared(manifest, "twice")
        before = len(double.runs)
        models.prepare(manifest, "twice")
        assert was_there == (len(double.runs) == before)
        return len(double.runs)

    assert [made(), made()] == [1, 1]
    double.versions(doubler="1.1")
    assert [made(), made()] == [2, 2]
    double.edit("# a comment\n")
    assert [made(), made()] == [3, 3]
    base.write_bytes(b"other weights")
    assert [made(), made()] == [4, 4]
    os.utime(base, ns=(1, 1))
    models.prepare(write(CHAIN), "base")  # hashed again, the same
    assert [made(), made()] == [4, 4]


def test_without_the_tool_what_is_there_stays_usable(write: Any, double: Any, base: Path) -> None:
    manifest = write(CHAIN)
    models.prepare(manifest, "twice")
    double.versions(doubler="missing")
    assert models.is_prepared(manifest, "twice")
    with pytest.raises(PrepareFailed, match="double needs doubler") as caught:
        models.prepare(manifest, "lossy")
    assert caught.value.remedy == "pip install 'bakeoff[convert]'"


def test_a_tampered_artifact_is_made_again(write: Any, double: Any, base: Path) -> None:
    manifest = write(CHAIN)
    path = models.prepare(manifest, "twice").artifact.path
    path.write_bytes(b"WEIGHTSweights")
    assert not models.is_prepared(manifest, "twice")
    assert models.prepare(manifest, "twice").artifact.path.read_bytes() == b"weights" * 2
    assert len(double.runs) == 2


def test_verify_finds_what_kept_its_size_and_time(write: Any, double: Any, base: Path) -> None:
    manifest = write(CHAIN)
    path = models.prepare(manifest, "twice").artifact.path
    models.verify(manifest, "twice")
    stat = path.stat()
    path.write_bytes(b"WEIGHTSweights")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert models.is_prepared(manifest, "twice")
    with pytest.raises(PrepareFailed, match="has changed: sha256"):
        models.verify(manifest, "twice")
    assert not models.is_prepared(manifest, "twice")
    with pytest.raises(PrepareFailed, match="m/twice is not prepared"):
        models.verify(manifest, "twice")


def test_an_artifact_without_provenance_is_never_taken(
    write: Any, double: Any, base: Path, cache: Path
) -> None:
    (cache / "models/m").mkdir(parents=True)
    (cache / "models/m/twice.gguf").write_bytes(b"half")
    (cache / "models/m/.twice.making-old").mkdir()
    prepared = models.prepare(write(CHAIN), "twice")
    assert prepared.artifact.path.read_bytes() == b"weights" * 2
    assert leftovers(cache) == ["twice.gguf"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '{"schema": 99}'])
def test_broken_provenance_means_not_prepared(
    write: Any, double: Any, base: Path, cache: Path, content: str
) -> None:
    manifest = write(CHAIN)
    models.prepare(manifest, "twice")
    (cache / "models/m/twice.provenance.json").write_text(content)
    assert not models.is_prepared(manifest, "twice")
    models.prepare(manifest, "twice")
    assert models.is_prepared(manifest, "twice")


def test_a_failed_conversion_tells_its_last_words_and_leaves_nothing(
    write: Any, double: Any, base: Path, cache: Path
) -> None:
    manifest = write(CHAIN.replace("with: double}", "with: double, options: {fail: no RAM}}"))
    with pytest.raises(
        PrepareFailed, match=r"double failed \(exit code 1\):\ndouble: no RAM"
    ) as caught:
        models.prepare(manifest, "twice")
    assert "pip install 'bakeoff[convert]'" in (caught.value.remedy or "")
    assert leftovers(cache) == []


def test_a_conversion_that_lies_is_caught(write: Any, double: Any, base: Path, cache: Path) -> None:
    manifest = write(CHAIN.replace("with: double}", "with: double, options: {lie: true}}"))
    with pytest.raises(PrepareFailed, match="but made no file"):
        models.prepare(manifest, "twice")
    assert leftovers(cache) == []


def test_a_conversion_that_hangs_is_killed(
    write: Any, double: Any, base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        conversions.convert,
        "__kwdefaults__",
        {**conversions.convert.__kwdefaults__, "timeout_s": 0.5},
    )
    manifest = write(CHAIN.replace("with: double}", "with: double, options: {wait_s: 60}}"))
    with pytest.raises(PrepareFailed, match=r"double took longer than 0\.5 s"):
        models.prepare(manifest, "twice")
    assert gone(int(double.runs[0]["pid"]))
    assert leftovers(cache) == []


def test_a_conversion_sees_no_secrets_and_is_offline(
    write: Any, double: Any, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "PIP_INDEX_URL", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "secret")
    models.prepare(write(CHAIN), "twice")
    environment = double.runs[0]["env"]
    assert "secret" not in environment.values()
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert "PIP_INDEX_URL" in child.environment(base.parent, network=True)
    assert "HF_TOKEN" not in child.environment(base.parent, network=True)


def test_two_processes_at_once_make_it_once(write: Any, double: Any, base: Path) -> None:
    manifest = write(CHAIN.replace("with: double}", "with: double, options: {wait_s: 1}}"))
    both = [drive(manifest, double, "twice") for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert len(double.runs) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_kills_the_conversion_and_leaves_nothing(
    write: Any, double: Any, base: Path, cache: Path
) -> None:
    manifest = write(CHAIN.replace("with: double}", "with: double, options: {wait_s: 60}}"))
    process = drive(manifest, double, "twice")
    until(lambda: double.runs)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    assert gone(int(double.runs[0]["pid"]))
    assert leftovers(cache) == []
    assert not models.is_prepared(manifest, "twice")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_after_kill_9_the_next_one_starts_clean(
    write: Any, double: Any, base: Path, cache: Path
) -> None:
    slow = write(CHAIN.replace("with: double}", "with: double, options: {wait_s: 60}}"))
    process = drive(slow, double, "twice")
    until(lambda: double.runs)
    process.kill()
    process.communicate(timeout=30)
    os.kill(int(double.runs[0]["pid"]), signal.SIGKILL)  # nobody was left to do it
    assert models.prepare(write(CHAIN), "twice").artifact.path.read_bytes() == b"weights" * 2
    assert leftovers(cache) == ["twice.gguf"]


def test_waiting_for_the_lock_is_said(write: Any, double: Any, base: Path, cache: Path) -> None:
    manifest = write(CHAIN)
    models.prepare(manifest, "base")
    slot = cache_module.slot("m", "twice")
    said: list[str] = []
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import filelock, sys\n"
            "with filelock.FileLock(sys.argv[1]):\n"
            "    print('held', flush=True); sys.stdin.readline()",
            str(slot.folder / "twice.lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    slot.folder.mkdir(parents=True, exist_ok=True)
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == "held\n"

    def on_progress(what: str, fraction: float | None) -> None:
        said.append(what)
        if "waiting" in what and holder.stdin is not None:
            holder.communicate("go\n", timeout=10)

    models.prepare(manifest, "twice", on_progress)
    assert "twice: another bakeoff is preparing it, waiting" in said


def test_a_full_disk_is_refused_before_the_work(
    write: Any, double: Any, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("U", (), {"free": 1000})())
    with pytest.raises(PrepareFailed, match="are free") as caught:
        models.prepare(write(CHAIN), "twice")
    assert "BAKEOFF_CACHE" in (caught.value.remedy or "")
    assert double.runs == []


def test_a_cache_that_cannot_be_written_says_what_to_set(
    write: Any, double: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path / "file"))
    with pytest.raises(PrepareFailed) as caught:
        models.prepare(write(CHAIN), "base")
    assert "BAKEOFF_CACHE" in (caught.value.remedy or "")
