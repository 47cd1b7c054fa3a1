"""What is deterministic must be the same: renderings, token counts, greedy ids, sizes.

No statistics: one difference is a difference. Greedy ids are held against each other only where the
base repeats itself bit for bit and both hold the same weights, stored alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from results.fixed import Fixed
from results.gate.family import task
from results.gate.outcome import Exact
from results.records import Rendering
from results.summary import TEMPLATES

_NAMED = 3


def checks(pairs: Sequence[tuple[Fixed, Fixed]], names: Sequence[str]) -> tuple[Exact, ...]:
    """Each pair is (base, candidate); only the named checks, in the order of the pairs."""
    found: list[Exact] = []
    sized: set[tuple[tuple[str, str], ...]] = set()
    for base, candidate in pairs:
        if base.case.measure == TEMPLATES:
            if "templates" in names:
                found.append(_templates(base, candidate))
        else:
            if "token_counts" in names:
                found.append(_counts(base, candidate))
            if "greedy" in names:
                found.append(_greedy(base, candidate))
        artifacts = tuple((f.case.model, f.case.artifact) for f in (base, candidate))
        if "size" in names and artifacts not in sized:
            sized.add(artifacts)
            found += _size(base, candidate)
    return tuple(found)


def _templates(base: Fixed, candidate: Fixed) -> Exact:
    """One difference is enough, unless it mends one from the model's own template."""
    was, now = base.renderings, candidate.renderings
    apart = [n for n, one in was.items() if n not in now or not _equal(one, now[n])]
    # An artifact with a template of its own agrees with itself: that mends nothing.
    alike = (base.case.model, base.case.artifact) == (candidate.case.model, candidate.case.artifact)
    mended = [n for n in apart if alike and n in candidate.as_own]
    changed = [n for n in apart if n not in mended]
    if changed:
        first = now.get(changed[0])
        what = "is missing" if first is None else _difference(was[changed[0]], first)
        detail = f"{len(changed)} of {len(was)} conversations: {_names(changed)}; {what}"
        return Exact("templates", task(base.case), False, detail)
    said = f"{len(was)} conversations, text and ids"
    if mended:
        said = f"now as the model's own template: {_names(mended)}"
    return Exact("templates", task(base.case), True, said)


def _equal(one: Rendering, other: Rendering) -> bool:
    return (one.status, one.text, one.ids) == (other.status, other.text, other.ids)


def _difference(was: Rendering, now: Rendering) -> str:
    if was.status != now.status:
        return f"was {was.status}, is {now.status}"
    if was.text == now.text:
        return "the same text, other ids"
    at = next(
        (i for i, (a, b) in enumerate(zip(was.text, now.text, strict=False)) if a != b),
        min(len(was.text), len(now.text)),
    )
    before, after = (text[at : at + 24] for text in (was.text, now.text))
    return f"from character {at}: {before!r} became {after!r}"


def _counts(base: Fixed, candidate: Fixed) -> Exact:
    shared = [prompt for prompt in base.counts if prompt in candidate.counts]
    wrong = [prompt for prompt in shared if base.counts[prompt] != candidate.counts[prompt]]
    what = task(base.case)
    if not shared:
        return Exact("token_counts", what, None, "no prompt that both answered")
    if wrong:
        was, now = base.counts[wrong[0]], candidate.counts[wrong[0]]
        detail = (
            f"{len(wrong)} of {len(shared)} prompts: {was[0]} prompt and {was[1]} output tokens "
            f"became {now[0]} and {now[1]}"
        )
        return Exact("token_counts", what, False, detail)
    return Exact("token_counts", what, True, f"{len(shared)} prompts")


def _greedy(base: Fixed, candidate: Fixed) -> Exact:
    what = task(base.case)
    old, new = base.artifact, candidate.artifact
    if new is None or old is None or (new.weights, new.precision) != (old.weights, old.precision):
        return Exact("greedy", what, None, "other weights, or stored otherwise")
    if not base.repeats:
        return Exact("greedy", what, None, f"of the base: {base.why}")
    if not candidate.repeats:
        return Exact("greedy", what, candidate.repeats, f"of the candidate: {candidate.why}")
    shared = [prompt for prompt in base.outputs if prompt in candidate.outputs]
    wrong = [prompt for prompt in shared if base.outputs[prompt] != candidate.outputs[prompt]]
    if not shared:
        return Exact("greedy", what, None, "no prompt that both answered")
    if wrong:
        detail = f"other ids for {len(wrong)} of {len(shared)} prompts, and the base repeats itself"
        return Exact("greedy", what, False, detail)
    return Exact("greedy", what, True, f"{len(shared)} prompts, id by id")


def _size(base: Fixed, candidate: Fixed) -> Iterator[Exact]:
    old, new = base.artifact, candidate.artifact
    if new is None or old is None:
        return
    what = f"{base.case.artifact} of {base.case.model}"
    mine, theirs = ((f.case.model, f.case.artifact) for f in (candidate, base))
    if mine != theirs:
        ratio = new.bytes / old.bytes if old.bytes else float("inf")
        detail = f"another artifact, {candidate.case.artifact}: {ratio:.2f} times the size"
        yield Exact("size", what, None, detail)
    else:
        detail = f"{old.bytes:,} bytes"
        if new.bytes != old.bytes:
            detail += f" became {new.bytes:,}"
        yield Exact("size", what, new.bytes == old.bytes, detail)


def _names(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
