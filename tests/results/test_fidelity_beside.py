"""An engine beside others on the very same file: the file's bits excuse nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from results import fidelity
from results.records import ArtifactFacts, Case, Record, Trial


def _record(case: Case, kl: float | None) -> Record:
    method = "top-k" if case.backend == "server" else "logits"
    seen: dict[str, Any] = {"item": "tides", "logprob": [-1.0], "method": method}
    if kl is not None:
        seen |= {"kl": [kl, kl], "agree": [1, 1], "error": [0.0, 0.0]}
    return Record(case.key, case, 0, 0, "ok", "", 1.0, observations=(seen,))


def _verdicts(make: Any, **kls: float) -> dict[str, fidelity.ArmFidelity]:
    """By engine, from its mean KL; `other` runs another file."""
    held = Case("m", "transformers", "hf", "reference")
    arms = {name: Case("m", name, "q8" if name == "other" else "q4", "fidelity") for name in kls}
    records = (_record(held, None), *(_record(arms[name], kl) for name, kl in kls.items()))
    facts = tuple(
        ArtifactFacts("m", name, "gguf", precision, "w", 1, "0" * 64)
        for name, precision in (("hf", "f32"), ("q4", "q4_1"), ("q8", "q4_1"))
    )
    run = make.run(list(records))
    info = replace(
        run.info,
        trials=tuple(Trial(r.trial, r.case, 0) for r in records),
        artifacts=facts,
        items={"fidelity": ({"name": "tides", "text": "x"},)},
    )
    (model,) = fidelity.of(replace(run, info=info, records=records))
    return {arm.case.backend: arm for arm in model.arms}


def test_what_an_engine_adds_to_the_same_file_is_a_fault(make: Any) -> None:
    found = _verdicts(make, llamacpp=0.004, openvino=0.47)
    assert (found["llamacpp"].verdict, found["openvino"].verdict) == ("as its bits allow", "fault")
    assert found["openvino"].faults == (
        "llamacpp q4 runs the same file 0.004 nats from the reference, this engine 0.47: "
        "the rest is its own",
    )


def test_a_file_that_is_off_for_everyone_is_nobodys_fault(make: Any) -> None:
    found = _verdicts(make, llamacpp=0.41, openvino=0.44)
    assert {arm.verdict for arm in found.values()} == {"as its bits allow"}


def test_another_file_is_no_measure(make: Any) -> None:
    found = _verdicts(make, llamacpp=0.47, other=0.004)
    assert found["llamacpp"].verdict == "as its bits allow"


def test_an_engine_that_shows_its_best_tokens_only_is_no_measure(make: Any) -> None:
    """Its KL is a lower bound: it may be as far off itself."""
    found = _verdicts(make, server=0.004, openvino=0.47)
    assert {arm.verdict for arm in found.values()} == {"as its bits allow"}
