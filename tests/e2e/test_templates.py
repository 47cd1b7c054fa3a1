"""Chat templates on real engines: every family really loaded, every known difference found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results import store, templates
from results.templates import Cell, Model

pytestmark = pytest.mark.engine

FAMILIES = (
    "llama-3", "llama-3-published", "llama-3.1", "llama-2", "mistral-v0.1-original",
    "mistral-v0.1-published", "mistral-v0.1", "mistral-v0.3", "mistral-nemo", "qwen2", "qwen2.5",
    "chatml", "chatml-published", "phi-3", "gemma",
)  # fmt: skip

ALL = """\
name: families
models: [{models}]
backends:
  - llamacpp: {{}}
  - onnx: {{}}
  - transformers: {{}}
measures: [templates]
plan: {{trials: 1, threads: 1}}
"""

OTHER_CALLS = """\
name: calls
models: [tiny-llama-3, tiny-gemma, tiny-mistral-nemo]
backends:
  - llamacpp: {options: {chat_call: core}}
  - transformers: {options: {chat_call: text}}
measures: [templates]
plan: {trials: 1, threads: 1}
"""

HARM = """\
name: harm
models: [smollm2-135m-instruct]
backends:
  - chat-as-it-is: {artifacts: [gguf-q4_1]}
  - chat-one-newline: {artifacts: [gguf-q4_1]}
  - chat-bos-twice: {artifacts: [gguf-q4_1]}
  - chat-system-lost: {artifacts: [gguf-q4_1]}
  - chat-wrong-family: {artifacts: [gguf-q4_1]}
  - transformers: {artifacts: [hf-f32]}
measures: [templates]
plan: {trials: 1, threads: 1}
"""


Run = Callable[[Path, str], store.Run]


@pytest.fixture(scope="module")
def run(in_this_process: Callable[..., Any], warm_transformers: Path) -> Run:
    """Twenty trials of transformers: it is imported once, and each is a fork of that process."""

    def run(folder: Path, scenario: str) -> store.Run:
        (folder / "scenario.yaml").write_text(scenario)
        done = in_this_process(
            folder, "run", "scenario.yaml", "--out", "out",
            variables={"COLUMNS": "80"}, warm=warm_transformers,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert max(map(len, done.stdout.splitlines())) <= 120
        return store.read(folder / "out")

    return run


Cells = dict[tuple[str, str, str], Cell]


def cells(matrix: tuple[Model, ...]) -> Cells:
    """By model, arm and conversation."""
    return {
        (model.name, arm.name, cell.conversation.name): cell
        for model in matrix
        for arm in model.arms
        for cell in arm.cells
    }


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Cells:
    names = ", ".join(f"tiny-{family}" for family in FAMILIES)
    return cells(templates.matrix(run(tmp_path_factory.mktemp("all"), ALL.format(models=names))))


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Cells:
    return cells(templates.matrix(run(tmp_path_factory.mktemp("calls"), OTHER_CALLS)))


def verdicts(cell: Cell) -> set[str]:
    return {str(finding.verdict) for finding in cell.findings}


def test_every_cell_comes_from_a_real_load(families: Cells) -> None:
    assert len(families) == len(FAMILIES) * 3 * 13
    assert all(cell.rendering is not None for cell in families.values())
    assert not any("stopped" in verdicts(cell) for cell in families.values())


def test_nothing_is_reported_where_text_and_ids_agree(families: Cells, calls: Cells) -> None:
    agreeing = [c for c in {**families, **calls}.values() if c.ids_equal and c.text_equal]
    assert len(agreeing) > 300
    assert all(verdicts(cell) == {"identical"} for cell in agreeing)


def test_the_matrix_is_what_it_was(families: Cells, golden: Callable[[str, str], None]) -> None:
    lines = []
    for (model, arm, conversation), cell in sorted(families.items()):
        found = [f.verdict for f in cell.findings if f.verdict != "identical"]
        if found:
            lines.append(f"{model} | {arm} | {conversation}: {', '.join(found)}\n")
    golden("families.txt", "".join(lines))


@pytest.mark.parametrize(
    ("model", "arm", "conversation", "verdict"),
    [
        # llama-cpp-python's own formatters take the place of templates it knows by heart.
        ("tiny-llama-3-published", "llamacpp gguf", "spaces", "white space differs"),
        ("tiny-llama-3-published", "llamacpp gguf", "empty", "end of turn missing"),
        ("tiny-mistral-v0.1-published", "llamacpp gguf", "system", "accepted though it should be rejected"),
        ("tiny-mistral-v0.1-published", "llamacpp gguf", "two-users", "accepted though it should be rejected"),
        ("tiny-chatml-published", "llamacpp gguf", "user", "default system added"),
        # A file without a template gets the format of Llama 2, with a second BOS.
        ("tiny-llama-2", "llamacpp gguf", "user", "BOS doubled"),
        # It cannot continue an answer, nor can onnxruntime-genai.
        ("tiny-llama-3", "llamacpp gguf", "prefill", "prefill closed"),
        ("tiny-llama-3", "onnx onnx", "prefill", "prefill closed"),
        # onnxruntime-genai does not trim blocks, trims ASCII only, and takes no variables.
        ("tiny-chatml", "onnx onnx", "user", "white space differs"),
        ("tiny-llama-3.1", "onnx onnx", "user", "white space differs"),
        ("tiny-gemma", "onnx onnx", "unicode", "white space differs"),
        ("tiny-llama-3.1", "onnx onnx", "date", "unsupported"),
        ("tiny-llama-3.1", "llamacpp gguf", "date", "unsupported"),
        # What a template refuses, an engine that follows it refuses too.
        ("tiny-gemma", "llamacpp gguf", "system", "rejected as expected"),
        ("tiny-mistral-v0.1-original", "onnx onnx", "system", "rejected as expected"),
    ],
)  # fmt: skip
def test_known_differences_get_the_right_verdict(
    families: Cells, model: str, arm: str, conversation: str, verdict: str
) -> None:
    assert verdict in verdicts(families[model, arm, conversation])


def test_the_dropped_system_message_is_told(families: Cells) -> None:
    cell = families["tiny-mistral-v0.1-published", "llamacpp gguf", "system"]
    assert any("left out the system message" in finding.detail for finding in cell.findings)


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_writes_what_the_reference_writes(families: Cells, family: str) -> None:
    found = {
        verdict
        for (model, arm, _), cell in families.items()
        if model == f"tiny-{family}" and arm == "transformers hf"
        for verdict in verdicts(cell)
    }
    assert found <= {"identical", "rejected as expected"}


def test_encoding_a_rendered_text_again_doubles_bos(calls: Cells) -> None:
    for model in ("tiny-llama-3", "tiny-gemma", "tiny-mistral-nemo"):
        cell = calls[model, "transformers hf chat_call=text", "user"]
        assert verdicts(cell) == {"BOS doubled"}


def test_llama_cpps_built_in_formats_differ_in_their_own_way(calls: Cells) -> None:
    core = "llamacpp gguf chat_call=core"
    assert "accepted though it should be rejected" in verdicts(calls["tiny-gemma", core, "system"])
    assert "white space differs" in verdicts(calls["tiny-mistral-nemo", core, "user"])
    assert "system moved" in verdicts(calls["tiny-mistral-nemo", core, "system-turns"])


def test_special_tokens_written_by_a_user_are_flagged(families: Cells) -> None:
    for engine in ("llamacpp gguf", "onnx onnx", "transformers hf"):
        assert families["tiny-llama-3", engine, "injection"].injected == ("<|eot_id|>",)
        assert families["tiny-llama-3", engine, "user"].injected == ()


def test_harm_tells_a_harmless_difference_from_a_lost_system_message(
    tmp_path: Path, run: Run
) -> None:
    (model,) = templates.matrix(run(tmp_path, HARM))
    harm = {arm.case.backend: arm.harm_nats for arm in model.arms}
    known = {name: value for name, value in harm.items() if value is not None}
    assert known.keys() == harm.keys()
    assert known["chat-as-it-is"] == known["transformers"] == 0.0
    assert abs(known["chat-one-newline"]) < 0.2
    order = ("chat-one-newline", "chat-bos-twice", "chat-system-lost", "chat-wrong-family")
    assert [*order] == sorted(order, key=known.__getitem__)
    assert known["chat-bos-twice"] < 1.0 < known["chat-system-lost"]
