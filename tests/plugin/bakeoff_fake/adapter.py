"""A deterministic engine. Its options make it crash, hang, raise, lie or dawdle, on request.

Tokens are UTF-8 bytes. Token i of an answer is a digest of the prompt, the sampling and i.
"""

from __future__ import annotations

import hashlib
import os
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

KNOWN = {
    "crash_at",
    "hang_at",
    "raise_at",
    "delay_s",
    "exit_code",
    "load",
    "short",
    "chatter",
    "once",
}


class Fake:
    name = "fake"
    formats = frozenset({"fake"})

    def __init__(self) -> None:
        self._weights: bytes | None = None
        self._options: Mapping[str, str | int | float | bool] = {}
        self._made = 0
        self._seen = 0

    def probe(self) -> Availability:
        return Availability(version="1.2.3", build={"kind": "deterministic"}, devices=("cpu",))

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        unknown = set(options.extra) - KNOWN
        if unknown:
            raise Unsupported(f"unknown options: {sorted(unknown)}")
        if not artifact.path.is_file():
            raise LoadFailed(artifact.path, "no such file")
        self._weights = artifact.path.read_bytes()
        self._options = options.extra
        if options.extra.get("load") == "fail":
            raise LoadFailed(artifact.path, "told to fail", "tell it otherwise")

    def generate(self, request: Request) -> Iterator[Token]:
        assert self._weights is not None
        print("chatter on stdout" if self._options.get("chatter") else "", flush=True)
        self._seen = len(request.prompt_ids)
        count = request.max_tokens - int(self._options.get("short", 0))
        for _ in range(count):
            self._misbehave()
            time.sleep(float(self._options.get("delay_s", 0.0)))
            key = f"{request.prompt_ids}{request.sampling}{self._made}".encode() + self._weights
            identity = hashlib.sha256(key).digest()[0] % 26 + 97
            self._made += 1
            yield Token(identity, chr(identity))

    def close(self) -> None:
        self._weights = None

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def detokenize(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")

    def claims(self) -> Mapping[str, float]:
        return {"prefill_tokens": float(self._seen)}

    def _misbehave(self) -> None:
        once = str(self._options.get("once", ""))
        if once and os.path.exists(once):  # noqa: PTH110
            return
        for what in ("crash_at", "hang_at", "raise_at"):
            if self._made == self._options.get(what):
                if once:
                    open(once, "w").close()  # noqa: PTH123
                if what == "crash_at" and "exit_code" in self._options:
                    os._exit(int(self._options["exit_code"]))
                if what == "crash_at":
                    os.kill(os.getpid(), signal.SIGSEGV)
                if what == "hang_at":
                    time.sleep(3600)
                raise GenerationFailed("told to raise")


class Missing(Fake):
    """An engine that is not installed."""

    name = "fake-missing"

    def probe(self) -> Availability:
        return Availability(
            reason="the package no-such-engine is not installed",
            remedy="pip install no-such-engine",
        )
