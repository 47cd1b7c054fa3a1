"""The adapter of picoLLM: against a small fake of its package, and its real package without a key.

No model was ever run: that takes an AccessKey and a .pllm file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backends.api import (
    Artifact,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Rejected,
    Request,
    Sampling,
    Unavailable,
    Unsupported,
)
from backends.conformance_suite import ConformanceSuite
from backends.picollm import PicoLLM
from harness import environment

KEY = "BAKEOFF_API_KEY_PICO"
SECRET = "s3cret=="
OPTIONS = LoadOptions(context=64, threads=2, extra={"api_key_env": KEY, "end_ids": "3"})
WORDS = 101


class Error(Exception):
    """A fake of PicoLLMError."""


class ActivationError(Error):
    pass


class KeyError_(Error):
    pass


class Dialog:
    """A fake of picollm's: a request, an answer, a request."""

    def __init__(self, system: str | None) -> None:
        self._text, self._open = f"[{system}]" if system else "", False

    def add_human_request(self, content: str) -> None:
        if self._open:
            raise RuntimeError("a human request without the last LLM response is invalid")
        self._text, self._open = f"{self._text}<h>{content}", True

    def add_llm_response(self, content: str) -> None:
        if not self._open:
            raise RuntimeError("an LLM response without a human request is invalid")
        self._text, self._open = f"{self._text}<l>{content}", False

    def prompt(self) -> str:
        if not self._open:
            raise RuntimeError("no outstanding human request")
        return f"{self._text}<l>"


class Engine:
    """A fake of PicoLLM: it remembers what was forwarded since the last reset."""

    def __init__(self, model_path: str) -> None:
        self.weights = Path(model_path).read_bytes()
        if self.weights[:4] != b"PLLM" or len(self.weights) != 8192:
            raise Error("`pv_picollm_init` failed.: Failed to read from file.")
        self.seen: list[int] = []
        self.context_length = 128
        self.released = False

    def tokenize(self, text: str, bos: bool, eos: bool) -> list[int]:
        assert not bos and not eos
        return [ord(character) % WORDS for character in text]

    def reset(self) -> None:
        self.seen = []

    def forward(self, token: int) -> list[float]:
        assert not self.released, "used after release"
        self.seen.append(token)
        start = hash((tuple(self.seen), 17))
        size = len(self.weights)
        return [float(self.weights[(start + 611 * i) % size]) for i in range(WORDS)]

    def get_dialog(self, history: int | None, system: str | None) -> Dialog:
        assert history is None, "the default leaves out all but the last turn"
        return Dialog(system)

    def release(self) -> None:
        assert not self.released
        self.released = True


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return install(monkeypatch)


def install(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put the fake in the package's place; the list gets the arguments of `create`."""
    calls: list[dict[str, Any]] = []

    def create(
        access_key: str, model_path: str, device: str, enable_context_caching: bool
    ) -> Engine:
        calls.append({"device": device, "caching": enable_context_caching})
        if access_key != SECRET:
            raise ActivationError(f"AccessKey `{access_key}` is refused")
        return Engine(model_path)

    fake: Any = ModuleType("picollm")
    fake.create, fake.available_devices = create, lambda: ["gpu:0 - A", "cpu:[0-2] - CPU"]
    fake.PicoLLMActivationError, fake.PicoLLMKeyError = ActivationError, KeyError_
    for name in ("Limit", "Throttled", "Refused"):
        setattr(fake, f"PicoLLMActivation{name}Error", type(name, (Error,), {}))
    monkeypatch.setitem(sys.modules, "picollm", fake)
    monkeypatch.setenv(KEY, SECRET)
    return calls


def write(path: Path) -> Artifact:
    path.write_bytes(b"PLLM" + bytes((7 * i * i + i // 3) % 251 for i in range(8188)))
    return Artifact("fake", "pllm", "pllm", path)


class TestConformanceOnTheFake(ConformanceSuite):
    backend = PicoLLM
    options = OPTIONS
    prompts = [tuple(10 + (7 * i + k) % 30 for i in range(10)) for k in (0, 11, 19)]  # noqa: RUF012

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def installed() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            install(patch)
            yield

    @classmethod
    def model(cls) -> Artifact:
        return write(Path(cls._scratch.name) / "model.pllm")


def test_without_the_package_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "picollm", None)
    found = PicoLLM().probe()
    assert "picollm is not installed" in str(found.reason)
    assert found.remedy == "bakeoff engines install picollm"
    monkeypatch.setenv(KEY, SECRET)
    with pytest.raises(Unavailable, match="not installed"):
        PicoLLM().load(write(tmp_path / "m.pllm"), OPTIONS)


def test_threads_are_told_and_caching_is_off(created: list[dict[str, Any]], tmp_path: Path) -> None:
    PicoLLM().load(write(tmp_path / "m.pllm"), OPTIONS)
    assert created == [{"device": "cpu:2", "caching": False}]
    PicoLLM().load(write(tmp_path / "m.pllm"), replace(OPTIONS, device="gpu:0"))
    assert created[-1]["device"] == "gpu:0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": {}}, "needs an AccessKey"),
        ({"extra": {"api_key_env": "AWS_SECRET_ACCESS_KEY"}}, "only BAKEOFF_API_KEY"),
        ({"extra": {"api_key_env": "BAKEOFF_API_KEY_ELSE"}}, "is not set"),
        ({"extra": {"api_key_env": KEY, "top_k": 3}}, "top_k"),
        ({"extra": {"api_key_env": KEY, "end_ids": "x"}}, "expected ids"),
        ({"device": "npu"}, "expected cpu, gpu"),
        ({"device": "gpu:1"}, "picoLLM finds"),
        ({"mlock": True}, "mlock"),
        ({"context": 129}, "made for 128"),
    ],
)
def test_options_it_cannot_honour_are_refused(
    created: list[dict[str, Any]], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unsupported, match=said):
        PicoLLM().load(write(tmp_path / "m.pllm"), replace(OPTIONS, **change))


def test_a_refused_key_is_unavailable_and_never_shown(
    created: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "another-s3cret")
    with pytest.raises(Unavailable, match="AccessKey was refused") as refused:
        PicoLLM().load(write(tmp_path / "m.pllm"), OPTIONS)
    assert "another-s3cret" not in str(refused.value) and refused.value.__cause__ is None
    monkeypatch.setenv(KEY, SECRET + "\r")
    with pytest.raises(Unsupported, match="holds no key"):
        PicoLLM().load(write(tmp_path / "m.pllm"), OPTIONS)
    assert len(created) == 1


@pytest.mark.parametrize("before", [0, *range(580, 590)])
def test_no_part_of_the_key_is_in_what_the_engine_breaks_with(
    created: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    backend = PicoLLM()
    backend.load(write(tmp_path / "m.pllm"), OPTIONS)

    def breaks(*given: Any, **named: Any) -> Any:
        raise Error("x" * before + f"  AccessKey `{SECRET}`")

    monkeypatch.setattr(backend._engine, "get_dialog", breaks)
    with pytest.raises(Rejected, match=r"^((?!s3).)*$"):
        backend.render([{"role": "user", "content": "a"}])
    for name in ("forward", "reset"):  # the second comes first
        monkeypatch.setattr(backend._engine, name, breaks)
        with pytest.raises(GenerationFailed, match=r"^((?!s3).)*$"):
            list(backend.generate(Request((1,), 1)))
    monkeypatch.setattr(sys.modules["picollm"], "create", breaks)
    with pytest.raises(LoadFailed, match=r"^((?!s3).)*$"):
        backend.load(write(tmp_path / "m.pllm"), OPTIONS)


def test_the_key_reaches_a_worker_that_is_told_to_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    assert environment.for_worker(1, OPTIONS.extra)[KEY] == SECRET
    assert KEY not in environment.for_worker(1, {})


def test_sampling_is_refused_before_the_first_token(
    created: list[dict[str, Any]], tmp_path: Path
) -> None:
    backend = PicoLLM()
    backend.load(write(tmp_path / "m.pllm"), OPTIONS)
    for sampling in (Sampling(temperature=1.0), Sampling(repetition_penalty=1.2)):
        with pytest.raises(Unsupported):
            next(backend.generate(Request((1, 2), 2, sampling=sampling)))
    assert backend._engine.seen == []


def test_every_id_is_forwarded_once_and_the_last_one_not(
    created: list[dict[str, Any]], tmp_path: Path
) -> None:
    backend = PicoLLM()
    backend.load(write(tmp_path / "m.pllm"), OPTIONS)
    made = [token.id for token in backend.generate(Request((5, 6, 7), 4))]
    assert backend._engine.seen == [5, 6, 7, *made[:-1]]


def test_end_ids_end_an_answer_that_is_not_forced(
    created: list[dict[str, Any]], tmp_path: Path
) -> None:
    backend = PicoLLM()
    artifact = write(tmp_path / "m.pllm")
    backend.load(artifact, OPTIONS)
    free = [token.id for token in backend.generate(Request((5, 6, 7), 4))]
    ends = {"api_key_env": KEY, "end_ids": f"{free[1]}"}
    backend.load(artifact, replace(OPTIONS, extra=ends))
    request = Request((5, 6, 7), 4, force_length=False)
    assert [token.id for token in backend.generate(request)] == free[: free.index(free[1]) + 1]
    assert len(list(backend.generate(replace(request, force_length=True)))) == 4


def test_a_chat_is_rendered_by_the_models_dialog(
    created: list[dict[str, Any]], tmp_path: Path
) -> None:
    backend = PicoLLM()
    backend.load(write(tmp_path / "m.pllm"), OPTIONS)
    roles = ("system", "user", "assistant", "user")
    chat = [{"role": role, "content": f"{n}"} for n, role in enumerate(roles)]
    found = backend.render(chat)
    assert found.text == "[0]<h>1<l>2<h>3<l>" and found.ids is None
    for bad in (chat[2:3], chat[1:3], [chat[1], chat[1]], [{"role": "tool", "content": "x"}]):
        with pytest.raises(Rejected):
            backend.render(bad)


def test_what_breaks_in_the_engine_is_a_failed_generation(
    created: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = PicoLLM()
    backend.load(write(tmp_path / "m.pllm"), OPTIONS)

    def breaks(token: int) -> list[float]:
        raise Error("`pv_picollm_forward` failed.")

    monkeypatch.setattr(backend._engine, "forward", breaks)
    with pytest.raises(GenerationFailed, match="pv_picollm_forward"):
        list(backend.generate(Request((1,), 1)))


REAL = """
import inspect, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import picollm
from backends.api import *
from backends import picollm as picollm_adapter
from backends.picollm import PicoLLM
found = PicoLLM().probe()
told = {"version": found.version, "devices": found.devices, "reason": found.reason}
told["create"] = list(inspect.signature(picollm.create).parameters)
engine = picollm.PicoLLM
told["tokenize"] = list(inspect.signature(engine.tokenize).parameters)
told["forward"] = list(inspect.signature(engine.forward).parameters)
told["dialog"] = list(inspect.signature(engine.get_dialog).parameters)
told["has"] = [hasattr(engine, n) for n in ("reset", "release", "context_length")]
told["errors"] = [issubclass(getattr(picollm, n), picollm.PicoLLMError)
                  for n in picollm_adapter._REFUSALS]
os.environ["BAKEOFF_API_KEY"] = "no-key-of-mine"
options = LoadOptions(64, 1, extra={"api_key_env": "BAKEOFF_API_KEY"})
try:
    PicoLLM().load(Artifact("m", "a", "pllm", Path(sys.argv[2])), options)
except LoadFailed as error:
    told["load"] = error.reason
print("SEEN" + json.dumps(told))
"""


@pytest.mark.engine
def test_the_real_package_has_what_the_adapter_calls(
    seen_in: Callable[..., Any], tmp_path: Path
) -> None:
    """Its own library refuses a damaged file, before it asks for the key."""
    bad = tmp_path / "bad.pllm"
    bad.write_bytes(b"no model" * 100)
    told = seen_in("picollm", REAL, Path(__file__).parents[2], bad)
    assert told["reason"] is None and told["version"] and told["devices"][0] == "cpu"
    assert told["create"][:4] == ["access_key", "model_path", "device", "enable_context_caching"]
    assert told["tokenize"] == ["self", "text", "bos", "eos"]
    assert told["forward"] == ["self", "token"]
    assert told["dialog"] == ["self", "mode", "history", "system"]
    assert told["has"] == [True] * 3 and told["errors"] == [True] * 5
    assert "bad.pllm" in told["load"] and "pv_picollm_init" in told["load"]


def test_a_file_that_is_none_is_named(created: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"gone\.pllm"):
        PicoLLM().load(Artifact("m", "a", "pllm", tmp_path / "gone.pllm"), OPTIONS)
