"""Checks that open models, good and bad. Each may crash its process, or leave it changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from backends.api import Artifact, BackendError, GenerationFailed, LoadFailed, Request
from backends.conformance_subject import SMALL, Subject
from backends.promises import LONG, Finding, Promises, verdict

ROUNDS = 10
SETTLED = 3
PATIENCE_S = 10.0
LEAST_BOUND = 32 * 2**20
CUT = 16 * 2**20
TEXT = b"This is a text, and no model at all.\n" * 400


def missing_model_refused(subject: Subject) -> Finding:
    """No such file, or a folder where a file belongs (or the reverse): LoadFailed that names it."""
    kind = subject.scratch / ("a-folder" if subject.artifact.path.is_file() else "a-file")
    if subject.artifact.path.is_file():
        kind.mkdir(exist_ok=True)
    else:
        kind.write_bytes(TEXT)
    for path in (subject.scratch / "no-such-model", kind):
        fault = _load_fault(subject, subject.at(path))
        if fault:
            return False, f"{path.name}: {fault}"
    return True, ""


def damaged_model_refused(subject: Subject) -> Finding:
    """An empty, a cut and a text file in the weights' place: LoadFailed that names it, no crash."""
    changes: dict[str, Callable[[Path, Path], object]] = {
        "empty": lambda _, new: new.write_bytes(b""),
        "cut off": _cut,
        "a text": lambda _, new: new.write_bytes(TEXT),
    }
    for name, change in changes.items():
        with subject.variant(change) as artifact:
            fault = _load_fault(subject, artifact)
        if fault == _LOADED and subject.weights().stat().st_size < SMALL:
            return None, f"the artifact is below {SMALL} bytes: any bytes may be a model"
        if fault:
            return False, f"weights that are {name}: {fault}"
    return True, ""


def output_depends_on_model(subject: Subject) -> Finding:
    """Other weights give another answer, or are refused. An engine whose answers do not depend on
    its file has never opened it."""
    with subject.variant(_altered) as artifact:
        mine = _answer(subject, subject.artifact)
        assert mine is not None
        other = _answer(subject, artifact)
    return verdict(
        other != mine, "with a fifth of the weights changed the answer is the same, token by token"
    )


def loads_again_after_close(subject: Subject) -> Finding:
    """`close` may be called twice and frees the model; `load` may follow, and gives the same."""
    prompts = subject.prompts
    answers = []
    with subject.fresh() as backend:
        for _ in range(2):
            backend.load(subject.artifact, subject.options)
            answers.append(Promises(backend, prompts).ask(prompts[0], LONG).ids)
            backend.close()
            backend.close()
            try:
                next(iter(backend.generate(Request(prompts[0], 1))))
            except GenerationFailed:
                continue
            return False, "after close it still generates"
    return verdict(answers[0] == answers[1], "loaded again, it gives other tokens")


def second_instance_agrees(subject: Subject) -> Finding:
    """Two backends, one after the other: the second gives what the first gave."""
    answers = [_answer(subject, subject.artifact) for _ in range(2)]
    return verdict(answers[0] == answers[1], "a second instance gives other tokens")


def memory_given_back(subject: Subject) -> Finding:
    """Ten rounds of load, one token and close: what stays is bounded, after the first rounds have
    filled the engine's own pools."""
    if _resident() is None:
        return None, "not measured: this system has no /proc/self/statm"
    prompt = subject.prompts[0]
    readings: list[int] = []
    with subject.fresh() as backend:
        for _ in range(ROUNDS):
            backend.load(subject.artifact, subject.options)
            next(iter(backend.generate(Request(prompt, 1))))
            backend.close()
            readings.append(_resident() or 0)
    bound = max(LEAST_BOUND, subject.weights().stat().st_size // 2)
    growth = readings[-1] - readings[SETTLED - 1]
    until = time.monotonic() + PATIENCE_S
    while growth > bound and time.monotonic() < until:  # an engine's own threads end a little later
        time.sleep(0.2)
        growth = (_resident() or 0) - readings[SETTLED - 1]
    said = f"{growth / 1e6:.0f} MB more after {ROUNDS - SETTLED} rounds of load and close"
    return growth <= bound, said


CHECKS = (
    missing_model_refused,
    damaged_model_refused,
    loads_again_after_close,
    second_instance_agrees,
    output_depends_on_model,
)

_LOADED = "it was loaded without an error"


def _load_fault(subject: Subject, artifact: Artifact) -> str | None:
    """What is wrong with how a bad artifact was refused; None if nothing."""
    with subject.fresh() as backend:
        try:
            backend.load(artifact, subject.options)
        except LoadFailed as error:
            if artifact.path.name not in str(error):
                return f"the error does not name the file: {error}"
            return None
        except Exception as error:
            return f"{type(error).__name__} instead of LoadFailed: {error}"
    return _LOADED


def _answer(subject: Subject, artifact: Artifact) -> tuple[int, ...] | None:
    """The greedy answer of a backend of its own; None where the artifact, or its use, is refused."""
    prompts = subject.prompts
    # Altered weights may be refused, or break the engine in its own terms: both mean it read them.
    allowed = nullcontext() if artifact is subject.artifact else suppress(BackendError)
    with subject.fresh() as backend, allowed:
        backend.load(artifact, subject.options)
        return Promises(backend, prompts).ask(prompts[0], LONG).ids
    return None


def _cut(original: Path, new: Path) -> None:
    length = min(original.stat().st_size // 2, CUT)
    with original.open("rb") as source, new.open("wb") as target:
        target.write(source.read(length))


def _altered(original: Path, new: Path) -> None:
    """The same length and the same head, with a fifth in the middle made zero (small: inverted)."""
    size = original.stat().st_size
    begin, end = size * 2 // 5, max(size * 3 // 5, size * 2 // 5 + 1)
    with original.open("rb") as source, new.open("wb") as target:
        if size < 2**20:
            data = bytearray(source.read())
            data[begin:end] = bytes(255 - b for b in data[begin:end])
            target.write(data)
            return
        for start, stop in ((0, begin), (end, size)):
            source.seek(start)
            target.seek(start)
            while start < stop:
                chunk = source.read(min(1 << 20, stop - start))
                target.write(chunk)
                start += len(chunk)


def _resident() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
