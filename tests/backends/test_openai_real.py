"""Two real servers from packages, each in an environment of its own, on the real model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lying_server import started

from backends.api import Artifact, LoadOptions, Request, Sampling, Tokenizes, Unsupported
from backends.openai import OpenAIServer
from backends.openai_presets import PRESETS
from results import store

pytestmark = pytest.mark.engine

TOLD: dict[str, dict[str, Any]] = {
    "xllamacpp": {},
    "llama-cpp-python": {"text_prompt": True, "end_ids": "0,2,4"},
}
PROMPT = (504, 3575, 282, 4649, 314)  # The capital of France is
BAKEOFF = Path(sys.executable).parent / "bakeoff"


@pytest.fixture(params=TOLD)
def server(
    request: pytest.FixtureRequest,
    own_python: Callable[[str], str],
    artifact_for: Callable[[str], Artifact],
) -> Iterator[OpenAIServer]:
    name = request.param
    program = own_python(name)
    # In a trial the worker runs under the server's interpreter, and {python} is that one.
    command = str(PRESETS[name].command).replace("{python}", program)
    backend = OpenAIServer()
    extra = {"server": name, "command": command, **TOLD[name]}
    backend.load(artifact_for("gguf"), LoadOptions(256, 1, extra=extra))
    yield backend
    backend.close()
    assert not started(program)


def _made(backend: OpenAIServer, count: int, **told: Any) -> list[int]:
    return [token.id for token in backend.generate(Request(PROMPT, count, **told))]


def test_forced_lengths_are_kept_and_ids_are_those_of_the_text(server: OpenAIServer) -> None:
    assert isinstance(server, Tokenizes)
    for count in (1, 2, 24):
        tokens = list(server.generate(Request(PROMPT, count)))
        assert len(tokens) == count
        ids = [token.id for token in tokens]
        assert all(0 <= i < 49152 for i in ids)
        assert server.detokenize(ids).strip() == "".join(token.text for token in tokens).strip()


def test_what_was_told_reaches_the_model(server: OpenAIServer) -> None:
    greedy = _made(server, 8)
    assert _made(server, 8) == greedy
    assert _made(server, 8, sampling=Sampling(5.0, top_k=1, seed=3)) == greedy
    drawn = [_made(server, 8, sampling=Sampling(1.0, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_repeated_prompt_is_evaluated_again_where_that_can_be_told(
    server: OpenAIServer,
) -> None:
    counts = []
    for _ in range(2):
        _made(server, 4)
        counts.append(server.claims().get("prefill_tokens"))
    told = server._settings.preset.fresh == "cache_prompt"  # type: ignore[union-attr]
    assert counts == ([len(PROMPT)] * 2 if told else [None] * 2)
    if told:
        _made(server, 4, reuse_prefix=True)
        assert server.claims()["prefill_tokens"] < len(PROMPT)
    else:
        # Its log tells what it found of an earlier prompt: never anything.
        assert "prefix-match hit" not in server._server.tail(2**18)  # type: ignore[union-attr]
        with pytest.raises(Unsupported, match="cannot be told to reuse a prefix"):
            _made(server, 4, reuse_prefix=True)


def test_closing_the_iterator_ends_it_and_the_next_request_is_whole(server: OpenAIServer) -> None:
    expected = _made(server, 8)
    stream = server.generate(Request(PROMPT, 200))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert _made(server, 8) == expected


def test_the_server_says_what_it_is(server: OpenAIServer) -> None:
    found = server.probe()
    name, _, version = str(found.version).partition(" ")
    assert name in TOLD and version
    assert found.build["model"].endswith(".gguf")
    _made(server, 4)
    claims = server.claims()
    assert 0 < claims["http_overhead_ms_per_token"] < 50
    if name == "xllamacpp":
        assert claims["decode_tokens"] == 3 and claims["decode_ms"] > 0


SCENARIO = """\
name: servers
models: [smollm2-135m-instruct]
backends:
  - llamacpp: {artifacts: [gguf-q4_1]}
  - openai: {artifacts: [gguf-q4_1], options: {server: xllamacpp}}
  - openai:
      artifacts: [gguf-q4_1]
      options: {server: llama-cpp-python, text_prompt: true, end_ids: "0,2,4"}
measures: [generate: {prompt_tokens: 16, output_tokens: 8}]
plan: {trials: 1, warmup: 1, requests: 2, threads: 1, audit: false}
"""


def test_two_servers_and_the_engine_in_process_in_one_report(
    own_python: Callable[[str], str], tmp_path: Path
) -> None:
    for name in TOLD:
        own_python(name)
    (tmp_path / "servers.yaml").write_text(SCENARIO)
    result = subprocess.run(
        [str(BAKEOFF), "run", "servers.yaml", "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    run = store.read(tmp_path / "out")
    assert [r.status for r in run.records] == ["ok"] * 3, result.stdout + result.stderr
    assert len({tuple(s.prompt for s in record.samples) for record in run.records}) == 1
    for record in run.records:
        assert all(len(s.token_ids) == len(s.token_ns) == 8 for s in record.samples)
        # The server's memory is that of the worker's tree: at least the model's 97 MB.
        assert record.memory is not None
        assert max(point.rss for point in record.memory.points) > 97e6
