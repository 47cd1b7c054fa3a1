"""Where the engine tests find the real model's artifacts, and the engines' own environments."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.api import Artifact, LoadOptions
from backends.openai import OpenAIServer
from harness import environments, models
from results import conformance

sys.path.insert(0, str(Path(__file__).parent))  # for `lying_server`

BAKEOFF = Path(sys.executable).parent / "bakeoff"
NAMES = {"gguf": "gguf-q4_1", "onnx": "onnx-f32", "hf": "hf-f32"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "own_python" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.own_environment)


@pytest.fixture(scope="session")
def own_python() -> Callable[[str], str]:
    """From an engine's name to the interpreter of its own environment."""
    found = {one.name: str(one.python) for one in environments.known()}

    def python(engine: str) -> str:
        if engine not in found:
            pytest.skip(f"no environment: bakeoff engines install {engine}")
        return found[engine]

    return python


@pytest.fixture(scope="session")
def seen_in(own_python: Callable[[str], str]) -> Callable[..., Any]:
    """`seen_in(engine, program, *given)`: the JSON that a Python program prints after "SEEN" under
    the engine's own interpreter. What the engine prints before does not matter."""

    def run(engine: str, program: str, *given: object) -> Any:
        done = subprocess.run(
            [own_python(engine), "-c", program, *map(str, given)],
            capture_output=True,
            text=True,
            timeout=600,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.rpartition("SEEN")[2])

    return run


@pytest.fixture
def conformance_of(
    own_python: Callable[[str], str], tmp_path: Path
) -> Callable[[str, Path], dict[str, str]]:
    """`conformance_of(engine, model)`: each check's status as `bakeoff conform` found it."""

    def conform(engine: str, model: Path) -> dict[str, str]:
        result = tmp_path / "conformance.json"
        command = [BAKEOFF, "conform", engine, "--python", own_python(engine)]
        done = subprocess.run(
            [*command, "--model", model, "--json", result],
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {one.check: one.status for one in conformance.read(result).checks}

    return conform


@pytest.fixture(scope="session")
def tiny_for() -> Callable[[str], Artifact]:
    """The same of a tiny model with random weights, for tests that load and refuse."""
    manifest = models.find("tiny-chatml", Path.cwd())

    def find(format: str) -> Artifact:
        return models.prepare(manifest, format).artifact

    return find


@pytest.fixture(scope="session")
def artifact_for() -> Callable[[str], Artifact]:
    """From a format to an artifact of SmolLM2-135M-Instruct in it, prepared if need be."""
    manifest = models.find("smollm2-135m-instruct", Path.cwd())

    def find(format: str) -> Artifact:
        return models.prepare(manifest, NAMES[format]).artifact

    return find


@pytest.fixture(scope="session")
def fake_command() -> str:
    """What starts the server of lies."""
    fake = Path(__file__).parent / "openai_fake" / "server.py"
    start = f"{shlex.quote(sys.executable)} {shlex.quote(str(fake))}"
    return f"{start} --model {{model}} --port {{port}}"


@pytest.fixture
def start_fake(fake_command: str, tmp_path: Path) -> Iterator[Callable[..., OpenAIServer]]:
    """A server of lies, started and loaded; `fault` and `like` go to it, the rest are options."""
    weights = tmp_path / "weights with spaces.bin"
    weights.write_bytes(b"weights")
    started: list[OpenAIServer] = []

    def make(
        fault: str = "", like: str = "llama-server", context: int = 64, **extra: Any
    ) -> OpenAIServer:
        command = fake_command + f" --like {like}" + (f" --fault {fault}" if fault else "")
        if like == "llama-cpp-python":
            extra = {"text_prompt": True, "end_ids": 0, **extra}
        told = {"server": like, "command": command, "start_timeout_s": 20, **extra}
        backend = OpenAIServer()
        started.append(backend)
        artifact = Artifact("tiny", "gguf", "gguf", weights)
        backend.load(artifact, LoadOptions(context, 1, extra=told))
        return backend

    yield make
    for backend in started:
        backend.close()


@pytest.fixture(scope="module")
def fake_mlc() -> Iterator[None]:
    """The fake packages, importable here and in the processes that conformance starts."""
    fake = str(Path(__file__).parent / "mlc_fake")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(fake)
        patch.setenv("PYTHONPATH", fake)
        patch.setenv("TVM_NUM_THREADS", "unset")
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mlc_llm", "tvm")]:
        del sys.modules[name]
