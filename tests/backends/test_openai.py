"""The adapter for OpenAI-compatible servers, against a server that tells every lie and breaks."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from backends import openai_echo, openai_options, openai_presets
from backends.api import (
    Artifact,
    BackendError,
    Claims,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Sampling,
    Tokenizes,
    Unsupported,
)
from backends.openai import OpenAIServer
from harness import environment

FAKE = Path(__file__).parent / "openai_fake" / "server.py"
COMMAND = (
    f"{shlex.quote(sys.executable)} {shlex.quote(str(FAKE))} --model {{model}} --port {{port}}"
)
PROMPT = (72, 105, 33)

Load = Callable[..., OpenAIServer]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """A started and loaded fake; `fault` and `like` go to it, the rest are options."""
    weights = tmp_path / "weights with spaces.bin"
    weights.write_bytes(b"weights")
    started: list[OpenAIServer] = []

    def make(
        fault: str = "", like: str = "llama-server", context: int = 64, **extra: Any
    ) -> OpenAIServer:
        command = COMMAND + f" --like {like}" + (f" --fault {fault}" if fault else "")
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


def _ids(backend: OpenAIServer, **told: Any) -> list[int]:
    return [token.id for token in backend.generate(Request(PROMPT, 6, **told))]


def _requests(backend: OpenAIServer) -> list[dict[str, Any]]:
    found = backend._try(("/requests",))
    assert isinstance(found, list)
    return found


EXPECTED = [97 + (sum(PROMPT) * 7 + len(PROMPT) + 5 * i) % 26 for i in range(6)]


@pytest.mark.parametrize("like", ["llama-server", "vllm", "llama-cpp-python"])
def test_tokens_come_with_the_ids_that_the_server_made(load: Load, like: str) -> None:
    tokens = list(load(like=like).generate(Request(PROMPT, 6)))
    assert [token.id for token in tokens] == EXPECTED
    assert "".join(token.text for token in tokens) == bytes(EXPECTED).decode()


@pytest.mark.parametrize("like", ["llama-server", "vllm", "llama-cpp-python"])
def test_a_token_is_here_before_the_next_one_is_made(load: Load, like: str) -> None:
    came = []
    with pytest.raises(GenerationFailed, match="sent nothing"):
        for token in load("stalls", like, stall_timeout_s=1).generate(Request(PROMPT, 6)):
            came.append(token.text)
    assert came == [chr(i) for i in EXPECTED[:2]]


@pytest.mark.parametrize("like", ["llama-server", "vllm", "llama-cpp-python"])
def test_every_parameter_is_sent_and_prefixes_are_told_off(load: Load, like: str) -> None:
    backend = load(like=like)
    _ids(backend, sampling=Sampling(1.0, top_k=5, top_p=0.9, min_p=0.1, seed=9))
    (body,) = _requests(backend)
    sent = {name: body[name] for name in ("temperature", "top_k", "top_p", "min_p", "seed")}
    assert sent == {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "seed": 9}
    assert body["stream"] is True
    if like == "llama-server":
        assert (body["cache_prompt"], body["ignore_eos"], body["repeat_penalty"]) == (
            False,
            True,
            1,
        )
        assert body["repeat_last_n"] == 9 and body["return_tokens"] is True
        assert body["samplers"] == ["penalties", "temperature", "top_k", "top_p", "min_p"]
    elif like == "vllm":
        assert body["ignore_eos"] is body["return_token_ids"] is True
        assert body["repetition_penalty"] == 1 and body["stream_options"]["include_usage"] is True
        _ids(backend)
        salts = [request["cache_salt"] for request in _requests(backend)]
        assert len(set(salts)) == 2 and all(salts)
    else:
        assert body["logit_bias"] == {"0": -100} and body["prompt"] == "Hi!"


def test_a_server_that_keeps_the_last_prompt_is_given_another_one_between(load: Load) -> None:
    backend = load(like="llama-cpp-python")
    list(backend.generate(Request(PROMPT, 6)))
    list(backend.generate(Request(PROMPT, 6)))
    backend.claims()
    backend.claims()
    list(backend.generate(Request(PROMPT, 6)))
    sent = [request["prompt"] for request in _requests(backend)]
    assert sent == ["Hi!", "\u241e", "Hi!", "\u241e", "Hi!"]
    with pytest.raises(Unsupported, match="a prompt that begins with"):
        list(backend.generate(Request(tuple("\u241eabc".encode()), 4)))


def test_a_prefix_is_reused_where_that_is_asked_for(load: Load) -> None:
    backend = load()
    _ids(backend, reuse_prefix=True)
    assert _requests(backend)[0]["cache_prompt"] is True
    with pytest.raises(Unsupported, match="cannot be told to reuse"):
        _ids(load(like="llama-cpp-python"), reuse_prefix=True)


def test_without_forced_length_it_ends_at_a_stop_id_or_at_the_models_own(load: Load) -> None:
    backend = load()
    stopped = _ids(backend, force_length=False, stop_ids=frozenset({EXPECTED[1]}))
    assert stopped == EXPECTED[:2]
    assert _ids(backend, force_length=False) == [*EXPECTED[:3], 0]
    assert "ignore_eos" not in _requests(backend)[-1]
    with pytest.raises(Unsupported, match="no ids to stop at"):
        _ids(load(like="llama-cpp-python"), force_length=False, stop_ids=frozenset({5}))


def test_closing_the_iterator_hangs_up_and_the_next_request_works(load: Load) -> None:
    backend = load(context=4096)
    stream = backend.generate(Request(PROMPT, 4000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert _ids(backend) == EXPECTED
    # It would have gone on for eight seconds; who writes to a closed connection learns it soon.
    time.sleep(0.5)
    sent = _requests(backend)[0]["sent"]
    time.sleep(0.5)
    assert _requests(backend)[0]["sent"] == sent < 3000


FAULTY = {
    "garbage": "an event that is no JSON object: {nonsense",
    "list": "an event that is no JSON object: .1, 2.",
    "shape": "event 1 has another shape than the protocol's",
    "binary": "does not speak HTTP: BadStatusLine",
    "long_line": "a line of over 1024 KiB",
    "endless_line": "a line of over 1024 KiB",
    "429": "the server answered 429: .*told to refuse",
    "500": "the server answered 500: .*told to refuse",
    "closes": "closed the connection before its answer was complete",
    "cuts_chunk": "closed the connection before its answer was complete",
    "no_done": "ended without a word that it is done",
    "content_type": "the server answered with application/json: .*all of it at once",
    "redirects": "redirects to http://127.0.0.1:9/elsewhere \\(302\\): it is not followed",
    "two_in_one": "event 1 holds 2 tokens: they cannot be timed one by one",
    "held_back": "has made 2 tokens where 1 came",
    "stops_early": "told to make 6 tokens .* ended after 5",
    "too_many": "asked for 6 tokens, the server goes on",
    "late_no_ids": "gives no token id with the text",
    "usage": "says that it made 9 tokens, 6 came",
    "prompt_count": "the prompt has 4 tokens, 3 were sent",
    "crashes": "was ended by SIGSEGV; its log ends: .*told to crash",
    "empty_events": "events for 6 tokens",
    "error_event": "the server reports an error: .*out of memory",
}


@pytest.mark.parametrize("like", ["llama-server", "vllm"])
@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_in_a_stream_fails_with_its_reason(load: Load, fault: str, like: str) -> None:
    if like == "vllm" and fault == "held_back":
        pytest.skip("it counts at the end only")
    backend = load(fault, like)
    began = time.monotonic()
    with pytest.raises(GenerationFailed, match=FAULTY[fault]):
        _ids(backend)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("fault", ["held_back", "two_in_one"])
def test_chunks_that_are_no_tokens_are_noticed_by_the_counts_at_the_end(
    load: Load, fault: str
) -> None:
    with pytest.raises(GenerationFailed, match=r"made 6 tokens, 3 came|holds 2 tokens"):
        _ids(load(fault, "vllm"))
    backend = load(fault, "llama-cpp-python")
    with pytest.raises(GenerationFailed, match="made all 6 tokens, 3 chunks came"):
        list(backend.generate(Request(PROMPT, 6)))  # without a question for any id
    with pytest.raises(GenerationFailed, match=r"'..' is 2 tokens to the server's tokenizer"):
        _ids(backend)


def test_a_server_without_ids_is_refused_before_the_first_token(load: Load) -> None:
    with pytest.raises(Unsupported, match="gives no token id"):
        _ids(load("no_ids"))


@pytest.mark.parametrize(
    ("fault", "options", "reason"),
    [
        ("hangs", {"stall_timeout_s": 0.3}, "sent nothing for 0.3 s"),
        ("stalls", {"stall_timeout_s": 0.3}, "sent nothing for 0.3 s"),
        # A byte now and then keeps the socket's own timeout from coming.
        ("drips", {"stall_timeout_s": 5, "request_timeout_s": 0.6}, "not done after 0.6 s"),
        (
            "stalls",
            {"stall_timeout_s": 5, "request_timeout_s": 0.6},
            "not done after 0.6 s|nothing",
        ),
    ],
)
def test_nothing_hangs_past_its_deadline(
    load: Load, fault: str, options: dict[str, float], reason: str
) -> None:
    backend = load(fault, **options)
    began = time.monotonic()
    with pytest.raises(GenerationFailed, match=reason):
        _ids(backend)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("dies", "exited with code 3 before it was ready; its log ends: .*no such tensor"),
        ("sleeps", "was not ready after 1 s: .*nothing listens"),
        ("unhealthy", "was not ready after 1 s: .*503.*loading model"),
        ("other_model", "holds another model: /elsewhere/other.gguf"),
        ("small_context", "has a context of 8, 64 is asked for"),
    ],
)
def test_a_server_that_does_not_come_up_is_a_failed_load_with_its_log(
    load: Load, fault: str, reason: str
) -> None:
    with pytest.raises(LoadFailed, match=reason) as caught:
        load(fault, start_timeout_s=20 if fault in ("dies", "other_model", "small_context") else 1)
    assert "weights with spaces.bin" in caught.value.reason or caught.value.path.endswith(".bin")
    assert not _fakes()


def _fakes() -> list[int]:
    return [p.pid for p in psutil.Process().children(recursive=True) if str(FAKE) in p.cmdline()]


@pytest.mark.parametrize("fault", ["", "sigterm"])
def test_close_leaves_no_process_behind(
    load: Load, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.openai_process._GRACE_S", 0.3)
    backend = load(fault)
    assert len(_fakes()) == 1
    backend.close()
    backend.close()
    assert not _fakes()
    with pytest.raises(GenerationFailed, match="no model is loaded"):
        _ids(backend)


def test_a_server_that_nobody_closed_ends_with_its_process(tmp_path: Path) -> None:
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
    command = [sys.executable, "-c", program, COMMAND, str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(done.stdout.split()[-1])), timeout=5)


def test_a_running_server_is_used_and_left_alone(load: Load, tmp_path: Path) -> None:
    owner = load()
    port = owner._client.address.port  # type: ignore[union-attr]
    (pid,) = _fakes()
    guest = OpenAIServer()
    extra = {"server": "llama-server", "url": f"http://127.0.0.1:{port}/v1", "pid": pid}
    artifact = Artifact("tiny", "gguf", "gguf", tmp_path / "weights with spaces.bin")
    guest.load(artifact, LoadOptions(64, 1, extra=extra))
    assert _ids(guest) == EXPECTED
    assert guest.probe().version == "llama-server b123"
    assert guest.probe().build["memory"] == "of the client only"
    assert guest.claims()["server_rss_bytes"] > 5e6
    guest.close()
    assert _fakes() == [pid]
    owner.close()
    with pytest.raises(LoadFailed, match="nothing listens"):
        guest.load(artifact, LoadOptions(64, 1, extra=extra))


def test_claims_are_the_servers_timings_and_the_cost_of_http(load: Load) -> None:
    backend = load()
    assert isinstance(backend, Claims)
    _ids(backend)
    found = backend.claims()
    told = {"prefill_tokens": 3, "prefill_ms": 1.0, "decode_tokens": 5, "decode_ms": 2.0}
    assert {name: found[name] for name in told} == told
    assert found["http_overhead_ms_per_token"] > 0 < found["http_overhead_ms_per_request"]
    again = backend.claims()
    assert again["http_overhead_ms_per_token"] == found["http_overhead_ms_per_token"]


def test_the_overhead_is_that_of_the_client_and_not_of_the_pause_between_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast = openai_echo.overhead()
    monkeypatch.setattr(openai_echo, "PAUSE_S", 0.02)
    monkeypatch.setattr(openai_echo, "REQUESTS", 3)
    slow = openai_echo.overhead()
    for name in fast:
        assert slow[name] < 15, name  # ms: the pause of 20 is in neither

    def later(lines: Any, native: bool) -> Iterator[Any]:
        for event in events(lines, native):
            time.sleep(0.03)
            yield event

    events = openai_echo.events
    monkeypatch.setattr(openai_echo, "events", later)
    assert openai_echo.overhead()["http_overhead_ms_per_token"] > 29


def test_a_tokenizer_is_an_ability_of_those_servers_that_have_one(load: Load) -> None:
    backend = load()
    assert isinstance(backend, Tokenizes)
    assert backend.detokenize(backend.tokenize("héllo")) == "héllo"
    backend.close()
    assert not isinstance(backend, Tokenizes)


def test_text_that_the_server_reads_as_other_ids_fails(load: Load) -> None:
    backend = load(like="llama-cpp-python")
    request = Request((72, 255, 33), 6)  # 255 is no UTF-8
    list(backend.generate(request))
    with pytest.raises(GenerationFailed, match="the prompt of 3 ids is 5 other ids to the server"):
        backend.claims()
    list(backend.generate(request))
    with pytest.raises(GenerationFailed, match="other ids"):
        _ids(backend)


@pytest.mark.parametrize(
    ("like", "extra", "reason"),
    [
        ("llama-cpp-python", {"text_prompt": False}, "takes no token ids as a prompt"),
        ("mlx-lm", {"text_prompt": True}, "shows no tokenizer"),
        ("transformers", {"text_prompt": True}, "shows no tokenizer"),
        ("generic", {}, "cannot be told to evaluate the whole prompt"),
    ],
)
def test_what_a_server_cannot_do_is_refused_before_it_is_started(
    load: Load, like: str, extra: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unsupported, match=reason):
        load("dies", like, **extra)


def test_what_a_server_takes_not_is_refused_and_not_ignored(load: Load) -> None:
    backend = load(like="llama-cpp-python")
    with pytest.raises(Unsupported, match=r"takes no repetition_penalty 1\.3"):
        _ids(backend, sampling=Sampling(repetition_penalty=1.3))
    with pytest.raises(Unsupported, match="applies the temperature after"):
        _ids(backend, sampling=Sampling(0.7, top_p=0.9))
    generic = openai_presets.PRESETS["generic"]
    with pytest.raises(Unsupported, match=r"takes no top_k 3, no min_p 0\.2"):
        generic.body(Request(PROMPT, 4, sampling=Sampling(1.0, top_k=3, min_p=0.2)), [1], "", ())
    python = openai_presets.PRESETS["llama-cpp-python"]
    with pytest.raises(Unsupported, match="which ids end"):
        python.body(Request(PROMPT, 4), "Hi!", "", ())
    assert not _requests(backend)


@pytest.mark.parametrize(
    ("extra", "more", "reason"),
    [
        ({}, {}, "no server is named"),
        ({"server": "lama"}, {}, "unknown server 'lama'"),
        ({"servr": "vllm"}, {}, "unknown options: \\['servr'\\]"),
        ({"server": 3}, {}, "the option server is 3"),
        ({"server": "vllm", "text_prompt": 1}, {}, "the option text_prompt is 1"),
        ({"server": "vllm", "port": True}, {}, "the option port is True"),
        ({"server": "vllm", "port": 70000}, {}, "the option port is 70000: expected 1 to 65535"),
        ({"server": "vllm", "stall_timeout_s": 0}, {}, "expected seconds above 0"),
        ({"server": "vllm", "pid": 4}, {}, "option pid is for a server that runs already"),
        ({"url": "http://x:1", "command": "y {model}"}, {}, "exclude each other"),
        ({"server": "vllm", "end_ids": "a,b"}, {}, "expected ids"),
        ({"server": "vllm"}, {"mmap": True}, "mmap and mlock cannot be told"),
        ({"server": "vllm"}, {"device": "cuda"}, "the device cuda cannot be told"),
        ({"server": "vllm", "api_key_env": "AWS_SECRET_ACCESS_KEY"}, {}, "only BAKEOFF_API_KEY"),
        ({"server": "vllm", "api_key_env": "BAKEOFF_API_KEY_X"}, {}, "is not set"),
    ],
)
def test_options_are_checked(extra: dict[str, Any], more: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        openai_options.read(LoadOptions(64, 1, extra=extra, **more))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("serve --port {port}", "has no {model}"),
        ("serve 'x {model}", "cannot be read"),
        ("", "no server is named|is empty"),
        ("/no/such/program {model}", "cannot be started: /no/such/program: No such file"),
    ],
)
def test_a_command_that_cannot_serve_the_model_is_refused(
    load: Load, command: str, reason: str, tmp_path: Path
) -> None:
    backend = OpenAIServer()
    weights = tmp_path / "weights with spaces.bin"
    extra = {"server": "generic", "prefix_reuse": True, "command": command}
    with pytest.raises(BackendError, match=reason):
        backend.load(Artifact("m", "a", "gguf", weights), LoadOptions(64, 1, extra=extra))


@pytest.mark.parametrize("url", ["http://me:hunter2@x:1", "http://x:1?key=hunter2", "ftp://x", "x"])
def test_a_url_with_a_secret_in_it_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    backend = OpenAIServer()
    extra = {"server": "llama-server", "url": url}
    with pytest.raises(Unsupported) as caught:
        backend.load(Artifact("m", "a", "gguf", tmp_path), LoadOptions(64, 1, extra=extra))
    assert "hunter2" not in str(caught.value)


def test_the_key_reaches_the_server_and_nothing_else(
    load: Load, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BAKEOFF_API_KEY", "sesame-77")
    backend = load("echoes_key", api_key_env="BAKEOFF_API_KEY")
    with pytest.raises(GenerationFailed) as caught:
        _ids(backend)
    assert caught.value.reason.count("[key]") == 1 and "sesame-77" not in str(caught.value)
    assert _requests(backend)[0]["key"] == "Bearer sesame-77"
    assert "sesame-77" not in str(backend.probe())
    backend.close()
    said = capfd.readouterr().out
    assert "key in its environment: False" in said and "sesame-77" not in said


def test_a_worker_is_passed_the_key_and_no_other_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_API_KEY", "a")
    monkeypatch.setenv("OPENAI_API_KEY", "b")
    passed = environment.for_worker(1)
    assert passed["BAKEOFF_API_KEY"] == "a" and "OPENAI_API_KEY" not in passed


def test_requests_beyond_the_context_or_the_vocabulary_are_not_sent(load: Load) -> None:
    backend = load()
    with pytest.raises(GenerationFailed, match="exceed the context of 64"):
        list(backend.generate(Request(PROMPT, 62)))
    with pytest.raises(GenerationFailed, match="token id 256 is outside"):
        list(backend.generate(Request((256,), 1)))
    assert not _requests(backend)


def test_the_fake_is_what_it_says(load: Load) -> None:
    """A fault that no test asks for would be a lie of this file's own."""
    source = FAKE.read_text()
    asked = {
        *FAULTY,
        "dies",
        "unhealthy",
        "hangs",
        "drips",
        "sigterm",
        "sleeps",
        "stalls",
        "other_model",
        "small_context",
        "reuses",
    }
    asked |= {"echoes_key", "no_ids"}
    namespace: dict[str, Any] = {"__name__": "fake"}
    exec(compile(source, str(FAKE), "exec"), namespace)  # noqa: S102
    assert set(namespace["FAULTS"]) == asked
    backend = load()
    port = backend._client.address.port  # type: ignore[union-attr]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        assert json.load(answer) == {"status": "ok"}
