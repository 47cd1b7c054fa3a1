"""The adapter for OpenAI-compatible servers, against a server that tells every lie and breaks."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from lying_server import EXPECTED, FAKE, PROMPT, Load, ids, requests

from backends import openai_echo
from backends.api import (
    Claims,
    GenerationFailed,
    Request,
    Sampling,
    Tokenizes,
    Unsupported,
)


@pytest.mark.parametrize("like", ["llama-server", "vllm", "llama-cpp-python"])
def test_tokens_come_with_the_ids_that_the_server_made(start_fake: Load, like: str) -> None:
    tokens = list(start_fake(like=like).generate(Request(PROMPT, 6)))
    assert [token.id for token in tokens] == EXPECTED
    assert "".join(token.text for token in tokens) == bytes(EXPECTED).decode()


@pytest.mark.parametrize("like", ["llama-server", "vllm", "llama-cpp-python"])
def test_a_token_is_here_before_the_next_one_is_made(start_fake: Load, like: str) -> None:
    came = []
    with pytest.raises(GenerationFailed, match="sent nothing"):
        for token in start_fake("stalls", like, stall_timeout_s=1).generate(Request(PROMPT, 6)):
            came.append(token.text)
    assert came == [chr(i) for i in EXPECTED[:2]]


@pytest.mark.parametrize("like", ["llama-server", "vllm", "llama-cpp-python"])
def test_every_parameter_is_sent_and_prefixes_are_told_off(start_fake: Load, like: str) -> None:
    backend = start_fake(like=like)
    ids(backend, sampling=Sampling(1.0, top_k=5, top_p=0.9, min_p=0.1, seed=9))
    (body,) = requests(backend)
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
        ids(backend)
        salts = [request["cache_salt"] for request in requests(backend)]
        assert len(set(salts)) == 2 and all(salts)
    else:
        assert body["logit_bias"] == {"0": -100} and body["prompt"] == "Hi!"


def test_a_server_that_keeps_the_last_prompt_is_given_another_one_between(start_fake: Load) -> None:
    backend = start_fake(like="llama-cpp-python")
    list(backend.generate(Request(PROMPT, 6)))
    list(backend.generate(Request(PROMPT, 6)))
    backend.claims()
    backend.claims()
    list(backend.generate(Request(PROMPT, 6)))
    sent = [request["prompt"] for request in requests(backend)]
    assert sent == ["Hi!", "\u241e", "Hi!", "\u241e", "Hi!"]
    with pytest.raises(Unsupported, match="a prompt that begins with"):
        list(backend.generate(Request(tuple("\u241eabc".encode()), 4)))


def test_a_prefix_is_reused_where_that_is_asked_for(start_fake: Load) -> None:
    backend = start_fake()
    ids(backend, reuse_prefix=True)
    assert requests(backend)[0]["cache_prompt"] is True
    with pytest.raises(Unsupported, match="cannot be told to reuse"):
        ids(start_fake(like="llama-cpp-python"), reuse_prefix=True)


def test_without_forced_length_it_ends_at_a_stop_id_or_at_the_models_own(start_fake: Load) -> None:
    backend = start_fake()
    stopped = ids(backend, force_length=False, stop_ids=frozenset({EXPECTED[1]}))
    assert stopped == EXPECTED[:2]
    assert ids(backend, force_length=False) == [*EXPECTED[:3], 0]
    assert "ignore_eos" not in requests(backend)[-1]
    with pytest.raises(Unsupported, match="no ids to stop at"):
        ids(start_fake(like="llama-cpp-python"), force_length=False, stop_ids=frozenset({5}))


def test_closing_the_iterator_hangs_up_and_the_next_request_works(start_fake: Load) -> None:
    backend = start_fake(context=4096)
    stream = backend.generate(Request(PROMPT, 4000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert ids(backend) == EXPECTED
    # It would have gone on for eight seconds; who writes to a closed connection learns it soon.
    time.sleep(0.5)
    sent = requests(backend)[0]["sent"]
    time.sleep(0.5)
    assert requests(backend)[0]["sent"] == sent < 3000


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
def test_a_fault_in_a_stream_fails_with_its_reason(start_fake: Load, fault: str, like: str) -> None:
    if like == "vllm" and fault == "held_back":
        pytest.skip("it counts at the end only")
    backend = start_fake(fault, like)
    began = time.monotonic()
    with pytest.raises(GenerationFailed, match=FAULTY[fault]):
        ids(backend)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("fault", ["held_back", "two_in_one"])
def test_chunks_that_are_no_tokens_are_noticed_by_the_counts_at_the_end(
    start_fake: Load, fault: str
) -> None:
    with pytest.raises(GenerationFailed, match=r"made 6 tokens, 3 came|holds 2 tokens"):
        ids(start_fake(fault, "vllm"))
    backend = start_fake(fault, "llama-cpp-python")
    with pytest.raises(GenerationFailed, match="made all 6 tokens, 3 chunks came"):
        list(backend.generate(Request(PROMPT, 6)))  # without a question for any id
    with pytest.raises(GenerationFailed, match=r"'..' is 2 tokens to the server's tokenizer"):
        ids(backend)


def test_a_server_without_ids_is_refused_before_the_first_token(start_fake: Load) -> None:
    with pytest.raises(Unsupported, match="gives no token id"):
        ids(start_fake("no_ids"))


def test_claims_are_the_servers_timings_and_the_cost_of_http(start_fake: Load) -> None:
    backend = start_fake()
    assert isinstance(backend, Claims)
    ids(backend)
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


def test_a_tokenizer_is_an_ability_of_those_servers_that_have_one(start_fake: Load) -> None:
    backend = start_fake()
    assert isinstance(backend, Tokenizes)
    assert backend.detokenize(backend.tokenize("héllo")) == "héllo"
    backend.close()
    assert not isinstance(backend, Tokenizes)


def test_text_that_the_server_reads_as_other_ids_fails(start_fake: Load) -> None:
    backend = start_fake(like="llama-cpp-python")
    request = Request((72, 255, 33), 6)  # 255 is no UTF-8
    list(backend.generate(request))
    with pytest.raises(GenerationFailed, match="the prompt of 3 ids is 5 other ids to the server"):
        backend.claims()
    list(backend.generate(request))
    with pytest.raises(GenerationFailed, match="other ids"):
        ids(backend)


def test_the_fake_is_what_it_says(start_fake: Load) -> None:
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
    backend = start_fake()
    port = backend._client.address.port  # type: ignore[union-attr]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        assert json.load(answer) == {"status": "ok"}
