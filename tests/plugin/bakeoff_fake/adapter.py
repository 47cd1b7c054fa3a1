"""An honest, deterministic engine. Its options make it crash, hang, raise or dawdle, on request.

Tokens are UTF-8 bytes.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence

from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Token,
    Unsupported,
)
from bakeoff_fake.model import VOCABULARY, logits, pick

KNOWN = {"crash_at", "hang_at", "raise_at", "delay_s", "exit_code", "load", "short", "chatter"}
PREFILL_S = 5e-5
DECODE_S = 5e-4


class Silent:
    """Keeps no count of what it evaluates, so it claims nothing."""

    name = "silent"
    formats = frozenset({"fake"})

    def __init__(self) -> None:
        self.weights: bytes | None = None
        self.options: Mapping[str, str | int | float | bool] = {}
        self.context = 0
        self.held: tuple[int, ...] = ()
        self.evaluated = 0
        self.made = 0

    def probe(self) -> Availability:
        return Availability(
            version="1.2.3",
            distribution="bakeoff-fake",
            build={"kind": "deterministic"},
            devices=("cpu",),
        )

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        unknown = set(options.extra) - KNOWN
        if unknown:
            raise Unsupported(f"unknown options: {sorted(unknown)}")
        if options.device != "cpu":
            raise Unsupported(f"device {options.device!r}: this engine runs on cpu only")
        if not artifact.path.is_file():
            raise LoadFailed(artifact.path, "no such file")
        self.options, self.context = options.extra, options.context
        if options.extra.get("load") == "fail":
            raise LoadFailed(artifact.path, "told to fail", "tell it otherwise")
        self.weights = artifact.path.read_bytes()

    def generate(self, request: Request) -> Iterator[Token]:
        if self.weights is None:
            raise GenerationFailed("no model is loaded")
        request.check(self.context, VOCABULARY)
        if self.options.get("chatter"):
            print("chatter on stdout", flush=True)
        self.prefill(request)
        ids = list(request.prompt_ids)
        rng = random.Random(request.sampling.seed)
        for _ in range(request.max_tokens - int(self.options.get("short", 0))):
            self.misbehave()
            time.sleep(DECODE_S + float(self.options.get("delay_s", 0.0)))
            token = pick(logits(self.weights, ids), set(ids), request.sampling, rng)
            ids.append(token)
            self.made += 1
            yield Token(token, chr(token))
            if not request.force_length and token in request.stop_ids:
                return

    def prefill(self, request: Request) -> None:
        same = 0
        if request.reuse_prefix:
            for old, new in zip(self.held, request.prompt_ids[:-1], strict=False):
                if old != new:
                    break
                same += 1
        self.evaluated = len(request.prompt_ids) - same
        self.held = request.prompt_ids
        time.sleep(PREFILL_S * self.evaluated)

    def close(self) -> None:
        self.weights = None

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def detokenize(self, ids: Sequence[int]) -> str:
        return bytes(i % 256 for i in ids).decode(errors="replace")

    def misbehave(self) -> None:
        for what in ("crash_at", "hang_at", "raise_at"):
            if self.made != self.options.get(what):
                continue
            if what == "crash_at" and "exit_code" in self.options:
                os._exit(int(self.options["exit_code"]))
            if what == "crash_at":
                os.kill(os.getpid(), signal.SIGSEGV)
            if what == "hang_at":
                time.sleep(3600)
            raise GenerationFailed("told to raise")


class Fake(Silent):
    """The honest engine, with a count of the prompt tokens that it evaluated."""

    name = "fake"

    def claims(self) -> Mapping[str, float]:
        return {"prefill_tokens": float(self.evaluated)}


class Missing(Fake):
    """An engine that is not installed."""

    name = "fake-missing"

    def probe(self) -> Availability:
        return Availability(
            reason="the package no-such-engine is not installed",
            remedy="pip install no-such-engine",
        )
