"""Each broken adapter fails the check made for its fault, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import broken, heavy
from toys.adapter import Toy

from backends.api import Artifact, GenerationFailed, LoadOptions, Unsupported
from backends.conformance import CHECKS, Result, Subject
from backends.conformance_subject import TEXTS

FAULTS = {
    heavy.ImportsAtOnce: "import_is_light",
    broken.ProbeRaises: "probe_answers",
    broken.ProbeNeedsTheEngine: "probe_answers",
    broken.IgnoresUnknownOptions: "unknown_options_refused",
    broken.FallsBackToTheCpu: "unknown_devices_refused",
    broken.NoLoadFailed: "missing_model_refused",
    broken.PadsWhatIsCut: "damaged_model_refused",
    broken.NeverOpensTheFile: "output_depends_on_model",
    broken.KeepsWhatItLoads: "memory_given_back",
    broken.ClosesOnce: "loads_again_after_close",
    broken.IgnoresStops: "stop_ids_honoured",
    broken.StopsWhenForced: "length_forced",
    broken.OneBurst: "tokens_one_at_a_time",
    broken.CannotBeClosed: "closing_cancels",
    broken.LeaksTheLastPrompt: "requests_do_not_leak",
    broken.BreaksCharacters: "characters_arrive_whole",
    broken.CutsThePrompt: "overflow_refused",
    broken.BreaksOnAnEmptyPrompt: "empty_prompt_handled",
    broken.TakesForeignIds: "foreign_ids_refused",
    broken.NeverReadsThePrompt: "prompt_ids_used",
    broken.DropsTheLastId: "prompt_ids_used",
    broken.DropsTheFirstId: "prompt_ids_used",
    broken.DropsTheFirstOfMany: "prompt_ids_used",
    broken.AddsBos: "prompt_ids_used",
    broken.OneSeedForAll: "seed_matters",
    broken.IgnoresTopK: "top_k_honoured",
    broken.IgnoresTopP: "top_p_honoured",
    broken.DeclaresTooMuch: "top_k_honoured",
    broken.LosesCapitals: "tokenizes",
    broken.ScoresTheWrongRow: "scores",
    broken.DrawsByAnotherSampler: "draws",
    broken.CountsChunks: "claims",
    broken.RendersNothing: "renders_chat",
}


def results(adapter: type, model: Path, scratch: Path) -> dict[str, Result]:
    options = LoadOptions(context=256, threads=1)
    subject = Subject(adapter, Artifact("toy", "toy", "toy", model), options, scratch)
    return {check.name: check.run(subject) for check in CHECKS}


@pytest.mark.parametrize("adapter", FAULTS, ids=lambda adapter: adapter.__name__)
def test_a_fault_fails_its_own_check_and_no_other(
    adapter: type, toy_model: Path, tmp_path: Path
) -> None:
    found = results(adapter, toy_model, tmp_path)
    failed = {name: r.detail for name, r in found.items() if r.status == "failed"}
    assert list(failed) == [FAULTS[adapter]], failed
    assert failed[FAULTS[adapter]], "a failure says why"


def test_a_model_that_looks_back_further_conforms(toy_model: Path, tmp_path: Path) -> None:
    found = results(broken.LooksBack, toy_model, tmp_path)
    assert {name: r.detail for name, r in found.items() if r.status == "failed"} == {}


def test_ids_that_an_adapter_takes_in_no_other_place_are_not_known_to_be_used(
    toy_model: Path, tmp_path: Path
) -> None:
    """As one that makes text of ids, and finds that it would be read as others."""

    class Particular(Toy):
        def generate(self, request):
            if bytes(request.prompt_ids) not in b"".join(map(str.encode, TEXTS)):
                raise Unsupported("these ids come back as others")
            yield from super().generate(request)

    options = LoadOptions(context=256, threads=1)
    subject = Subject(Particular, Artifact("toy", "toy", "toy", toy_model), options, tmp_path)
    check = next(c for c in CHECKS if c.name == "prompt_ids_used")
    found = check.run(subject)
    assert (found.status, found.detail) == ("not_applicable", "the engine takes no other last id")


def test_the_gaps_that_the_toy_declares_are_verified(toy_model: Path, tmp_path: Path) -> None:
    found = results(Toy, toy_model, tmp_path)
    assert {name: r.gap for name, r in found.items() if r.gap} == Toy.gaps


def test_every_gap_says_a_check_a_kind_and_why(toy_model: Path, tmp_path: Path) -> None:
    for gaps in ({"no_such_check": "never: so"}, {"scores": "some day"}, {"scores": "never:"}):
        adapter = type("Gaps", (Toy,), {"gaps": gaps, "__module__": Toy.__module__})
        options = LoadOptions(context=256, threads=1)
        subject = Subject(adapter, Artifact("toy", "toy", "toy", toy_model), options, tmp_path)
        check = next(c for c in CHECKS if c.name == "gaps_well_declared")
        assert check.run(subject).status == "failed"


def test_a_gap_excuses_what_fails_openly_and_a_bad_measure_but_no_wrong_answer(
    toy_model: Path, tmp_path: Path
) -> None:
    """What an engine shows about itself only once it runs, an instance may declare."""

    class Server(broken.KeepsWhatItLoads):
        gaps = {**Toy.gaps, "memory_given_back": "never: it keeps everything"}  # noqa: RUF012

        def load(self, artifact, options):
            super().load(artifact, options)
            self.gaps = {**type(self).gaps, "characters_arrive_whole": "never: it shows no part"}

        def generate(self, request):
            for token in super().generate(request):
                if "\N{REPLACEMENT CHARACTER}" in token.text or not token.text:
                    raise GenerationFailed("a part of a character")
                yield token

    found = results(Server, toy_model, tmp_path)
    assert found["memory_given_back"].gap == "never: it keeps everything"
    assert found["characters_arrive_whole"].gap == "never: it shows no part"

    class Wrong(broken.IgnoresTopK):
        gaps = {"top_k_honoured": "never: so"}  # noqa: RUF012

    assert results(Wrong, toy_model, tmp_path)["top_k_honoured"].status == "failed"
