"""What the adapter for servers refuses before anything is sent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from lying_server import EXPECTED, FAKE, PROMPT, Load, ids, requests

from backends import openai_options, openai_presets
from backends.api import (
    Artifact,
    BackendError,
    GenerationFailed,
    LoadOptions,
    Request,
    Sampling,
    Unsupported,
)
from backends.openai import OpenAIServer


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
    start_fake: Load, like: str, extra: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unsupported, match=reason):
        start_fake("dies", like, **extra)


def test_what_a_server_takes_not_is_refused_and_not_ignored(start_fake: Load) -> None:
    backend = start_fake(like="llama-cpp-python")
    with pytest.raises(Unsupported, match=r"takes no repetition_penalty 1\.3"):
        ids(backend, sampling=Sampling(repetition_penalty=1.3))
    with pytest.raises(Unsupported, match="applies the temperature after"):
        ids(backend, sampling=Sampling(0.7, top_p=0.9))
    generic = openai_presets.PRESETS["generic"]
    with pytest.raises(Unsupported, match=r"takes no top_k 3, no min_p 0\.2"):
        generic.body(Request(PROMPT, 4, sampling=Sampling(1.0, top_k=3, min_p=0.2)), [1], "", ())
    with pytest.raises(Unsupported, match=r"takes no repetition_penalty 1\.1"):
        generic.body(Request(PROMPT, 4, sampling=Sampling(repetition_penalty=1.1)), [1], "", ())
    python = openai_presets.PRESETS["llama-cpp-python"]
    with pytest.raises(Unsupported, match="which ids end"):
        python.body(Request(PROMPT, 4), "Hi!", "", ())
    assert not requests(backend)


@pytest.mark.parametrize("name", openai_presets.PRESETS)
def test_what_is_off_is_said_to_be_off_and_is_not_left_to_the_server(name: str) -> None:
    """vLLM and SGLang have defaults of their own from the model's files."""
    preset = openai_presets.PRESETS[name]
    if name in ("mlx-lm", "transformers"):
        return
    body = preset.body(Request(PROMPT, 4), [1], "", (0,))
    assert body["temperature"] == 0 and body["top_p"] == 1 and body["min_p"] == 0
    assert body["top_k"] == (-1 if name == "generic" else 0)
    penalties = {body.get(key) for key in ("repeat_penalty", "repetition_penalty")}
    assert penalties - {None} == {1.0}


def test_what_is_not_controlled_is_said_in_the_record(start_fake: Load) -> None:
    command = f"{sys.executable} {FAKE} --model {{model}} --port {{port}} --like vllm"
    backend = start_fake(like="generic", command=command, prefix_reuse=True)
    assert ids(backend) == EXPECTED
    said = backend.probe().build["sampling"]
    assert said.startswith("not controlled: top_k, min_p, repetition_penalty, ")
    assert start_fake(like="vllm").probe().build["sampling"] == "all told"


@pytest.mark.parametrize(
    "name", ["llama-server", "xllamacpp", "llama-cpp-python", "generic", "vllm"]
)
def test_a_seed_that_would_become_another_one_is_refused(name: str) -> None:
    preset = openai_presets.PRESETS[name]
    last = 2**63 - 1 if name == "vllm" else 2**32 - 2  # the next one is drawn anew by llama.cpp

    def body(seed: int, temperature: float) -> dict[str, Any]:
        request = Request(PROMPT, 4, sampling=Sampling(temperature, seed=seed))
        return preset.body(request, [1], "", (0,))

    assert body(last, 1.0)["seed"] == last and body(0, 1.0)["seed"] == 0
    for bad in (last + 1, last + 2, -1):
        with pytest.raises(
            Unsupported, match=f"seed {bad}: the server {name} is given 0 to {last}"
        ):
            body(bad, 1.0)
        body(bad, 0.0)  # greedy: nothing is drawn


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
        ({"server": "mlx-lm"}, {}, "shows no tokenizer"),
        ({"server": "transformers", "url": "http://x:1"}, {}, "shows no tokenizer"),
    ],
)
def test_options_are_checked(extra: dict[str, Any], more: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        openai_options.read(LoadOptions(64, 1, extra=extra, **more))


@pytest.mark.parametrize("end", ["\r", "\n", " ", "é"])
def test_a_key_that_no_header_takes_is_refused_and_not_repeated(
    start_fake: Load, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("BAKEOFF_API_KEY", "hunter2-hunter2" + end)
    with pytest.raises(Unsupported, match="BAKEOFF_API_KEY holds no key") as caught:
        start_fake("dies", api_key_env="BAKEOFF_API_KEY")
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_show_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_API_KEY", "hunter2-hunter2")
    extra = {"server": "vllm", "api_key_env": "BAKEOFF_API_KEY"}
    settings = openai_options.read(LoadOptions(64, 1, extra=extra))
    assert settings.key == "hunter2-hunter2" and "hunter2" not in repr(settings)


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
    start_fake: Load, command: str, reason: str, tmp_path: Path
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


def test_requests_beyond_the_context_or_the_vocabulary_are_not_sent(start_fake: Load) -> None:
    backend = start_fake()
    with pytest.raises(GenerationFailed, match="exceed the context of 64"):
        list(backend.generate(Request(PROMPT, 62)))
    with pytest.raises(GenerationFailed, match="token id 256 is outside"):
        list(backend.generate(Request((256,), 1)))
    assert not requests(backend)
