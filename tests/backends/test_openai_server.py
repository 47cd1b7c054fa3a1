"""How servers start, hang, end and are left alone, and what they are told."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from lying_server import EXPECTED, FAKE, Load, ids, requests, started

from backends.api import (
    Artifact,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
)
from backends.openai import OpenAIServer
from harness import environment


@pytest.mark.parametrize(
    ("fault", "options", "reason"),
    [
        ("hangs", {"stall_timeout_s": 1.5}, "sent nothing for 1.5 s"),
        ("stalls", {"stall_timeout_s": 1.5}, "sent nothing for 1.5 s"),
        # A byte now and then keeps the socket's own timeout from coming.
        ("drips", {"stall_timeout_s": 5, "request_timeout_s": 1.5}, "not done after 1.5 s"),
        (
            "stalls",
            {"stall_timeout_s": 5, "request_timeout_s": 1.5},
            "not done after 1.5 s|nothing",
        ),
    ],
)
def test_nothing_hangs_past_its_deadline(
    start_fake: Load, fault: str, options: dict[str, float], reason: str
) -> None:
    backend = start_fake(fault, **options)
    began = time.monotonic()
    with pytest.raises(GenerationFailed, match=reason):
        ids(backend)
    assert time.monotonic() - began < 60  # it would be for an hour


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("dies", "exited with code 3 before it was ready; its log ends: .*no such tensor"),
        ("sleeps", "was not ready after 1 s: .*nothing listens"),
        ("unhealthy", "was not ready after 5 s: .*503.*loading model"),
        ("other_model", "holds another model: /elsewhere/other.gguf"),
        ("small_context", "has a context of 8, 64 is asked for"),
    ],
)
def test_a_server_that_does_not_come_up_is_a_failed_load_with_its_log(
    start_fake: Load, fault: str, reason: str
) -> None:
    with pytest.raises(LoadFailed, match=reason) as caught:
        start_fake(fault, start_timeout_s={"sleeps": 1, "unhealthy": 5}.get(fault, 20))
    assert "weights with spaces.bin" in caught.value.reason or caught.value.path.endswith(".bin")
    assert not started(str(FAKE))


@pytest.mark.parametrize("fault", ["", "sigterm"])
def test_close_leaves_no_process_behind(
    start_fake: Load, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.openai_process._GRACE_S", 0.3)
    backend = start_fake(fault)
    (pid,) = started(str(FAKE))
    backend.close()
    backend.close()
    assert not psutil.pid_exists(pid), "it is left, or left as a zombie"
    with pytest.raises(GenerationFailed, match="no model is loaded"):
        ids(backend)


def test_a_server_that_nobody_closed_ends_with_its_process(
    fake_command: str, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"weights")
    program = (
        "import sys; from pathlib import Path\n"
        "from backends.api import Artifact, LoadOptions\n"
        "from backends.openai import OpenAIServer\n"
        "backend = OpenAIServer()\n"
        "extra = {'server': 'llama-server', 'command': sys.argv[1]}\n"
        "artifact = Artifact('tiny', 'gguf', 'gguf', Path(sys.argv[2]))\n"
        "backend.load(artifact, LoadOptions(64, 1, extra=extra))\n"
        "print(backend._client.address.port)\nraise SystemExit(3)\n"
    )
    command = [sys.executable, "-c", program, fake_command, str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(done.stdout.split()[-1])), timeout=5)


def test_a_running_server_is_used_and_left_alone(start_fake: Load, tmp_path: Path) -> None:
    owner = start_fake()
    port = owner._client.address.port  # type: ignore[union-attr]
    (pid,) = started(str(FAKE))
    guest = OpenAIServer()
    extra = {"server": "llama-server", "url": f"http://127.0.0.1:{port}/v1", "pid": pid}
    artifact = Artifact("tiny", "gguf", "gguf", tmp_path / "weights with spaces.bin")
    guest.load(artifact, LoadOptions(64, 1, extra=extra))
    assert ids(guest) == EXPECTED
    assert guest.probe().version == "llama-server b123"
    assert guest.probe().build["memory"] == "of the client only"
    assert guest.claims()["server_rss_bytes"] > 5e6
    guest.close()
    assert started(str(FAKE)) == [pid]
    owner.close()
    with pytest.raises(LoadFailed, match="nothing listens"):
        guest.load(artifact, LoadOptions(64, 1, extra=extra))


def test_the_key_reaches_the_server_and_nothing_else(
    start_fake: Load, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BAKEOFF_API_KEY", "sesame-77")
    backend = start_fake("echoes_key", api_key_env="BAKEOFF_API_KEY")
    with pytest.raises(GenerationFailed) as caught:
        ids(backend)
    assert caught.value.reason.count("[key]") == 1 and "sesame-77" not in str(caught.value)
    assert requests(backend)[0]["key"] == "Bearer [key]"
    port = backend._client.address.port  # type: ignore[union-attr]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/requests", timeout=20) as answer:
        assert json.load(answer)[0]["key"] == "Bearer sesame-77"
    assert "sesame-77" not in str(backend.probe())
    backend.close()
    said = capfd.readouterr().out
    assert "key in its environment: False" in said and "sesame-77" not in said


def test_only_the_engine_that_uses_a_key_gets_it_and_no_other_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("BAKEOFF_API_KEY", "BAKEOFF_API_KEY_2", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "secret")

    def passed(options: dict[str, str]) -> set[str]:
        return {name for name in environment.for_worker(1, options) if "API_KEY" in name}

    assert passed({"api_key_env": "BAKEOFF_API_KEY"}) == {"BAKEOFF_API_KEY"}
    assert passed({"api_key_env": "OPENAI_API_KEY"}) == passed({}) == set()
