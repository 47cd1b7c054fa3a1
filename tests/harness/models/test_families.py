"""Each family's template says what the family's documentation says; its files lead to a tiny model.

The expected texts were written down from the documented prompt formats, not rendered.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2.ext
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harness import models
from harness.errors import BadInput, PrepareFailed
from harness.models import conversions, families
from harness.models.convert import tiny

SYSTEM = {"role": "system", "content": "Be brief."}
ONE = [{"role": "user", "content": "Hi"}]
# White space around two of them, to see who trims.
TURNS = [
    {"role": "user", "content": " Hi "},
    {"role": "assistant", "content": " Yes.\n"},
    {"role": "user", "content": "Why?"},
]
REJECTED = "rejected"
DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"

LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
)
CHATML = (
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\n",
    "<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n Yes.\n<|im_end|>\n"
    "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
)
QWEN2 = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
QWEN25 = (
    "<|im_start|>system\n"
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
)
MISTRAL_FIRST = (
    "<s>[INST] Hi [/INST]",
    REJECTED,
    "<s>[INST]  Hi  [/INST] Yes.\n</s> [INST] Why? [/INST]",
)
EXPECTED: dict[str, tuple[str, str, str]] = {
    "llama-3": LLAMA3,
    "llama-3.1": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n" + DATES + "<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        + DATES
        + "Be brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n" + DATES + "<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "llama-2": (
        "<s>[INST] Hi [/INST]",
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]",
        "<s>[INST] Hi [/INST] Yes. </s><s>[INST] Why? [/INST]",
    ),
    "mistral-v0.1-original": MISTRAL_FIRST,
    "mistral-v0.1": (
        "<s> [INST] Hi [/INST]",
        "<s> [INST] Be brief.\n\nHi [/INST]",
        "<s> [INST]  Hi  [/INST]  Yes.\n</s> [INST] Why? [/INST]",
    ),
    "mistral-v0.3": (
        "<s>[INST] Hi[/INST]",
        "<s>[INST] Be brief.\n\nHi[/INST]",
        "<s>[INST]  Hi [/INST] Yes.</s>[INST] Why?[/INST]",
    ),
    "mistral-nemo": (
        "<s>[INST]Hi[/INST]",
        "<s>[INST]Be brief.\n\nHi[/INST]",
        "<s>[INST] Hi [/INST] Yes.\n</s>[INST]Why?[/INST]",
    ),
    "qwen2": (QWEN2 + CHATML[0], CHATML[1], QWEN2 + CHATML[2]),
    "qwen2.5": (QWEN25 + CHATML[0], CHATML[1], QWEN25 + CHATML[2]),
    "chatml": CHATML,
    "phi-3": (
        "<|user|>\nHi<|end|>\n<|assistant|>\n",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n",
        "<|user|>\n Hi <|end|>\n<|assistant|>\n Yes.\n<|end|>\n<|user|>\nWhy?<|end|>\n"
        "<|assistant|>\n",
    ),
    "gemma": (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
        REJECTED,
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes.<end_of_turn>\n"
        "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n",
    ),
    "llama-3-published": LLAMA3,
    "mistral-v0.1-published": MISTRAL_FIRST,
    "chatml-published": CHATML,
}
# Their text is read from llama-cpp-python, which has to be installed for it.
NAMES = [
    pytest.param(name, marks=[pytest.mark.engine] if name.endswith("-published") else [])
    for name in EXPECTED
]
ALTERNATE = ["llama-2", "mistral-v0.1-original", "mistral-v0.1", "mistral-v0.3", "mistral-nemo", "gemma"]  # fmt: skip


def render(name: str, messages: list[dict[str, str]], *, blocks: bool = True, **more: Any) -> str:
    """As transformers renders; `blocks` off as engines do that keep line ends after blocks."""

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    source = families.known()[name]
    family = tiny.read(source)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=blocks, lstrip_blocks=blocks, extensions=[jinja2.ext.loopcontrols]
    )
    arguments: dict[str, Any] = {"add_generation_prompt": True, **more}
    return environment.from_string(tiny.template(source, family)).render(
        messages=messages,
        bos_token=family["bos"] or "",
        eos_token=family["eos"],
        raise_exception=raise_exception,
        **arguments,
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_template_says_what_the_family_documents(name: str) -> None:
    one, with_system, turns = EXPECTED[name]
    assert render(name, ONE) == one
    assert render(name, TURNS) == turns
    if with_system != REJECTED:
        assert render(name, [SYSTEM, *ONE]) == with_system
        return
    with pytest.raises(jinja2.exceptions.TemplateError, match=r"[Rr]oles?"):
        render(name, [SYSTEM, *ONE])


def test_every_family_is_tested() -> None:
    assert set(families.known()) == set(EXPECTED)


@pytest.mark.parametrize("name", ALTERNATE)
@pytest.mark.parametrize("messages", [ONE * 2, TURNS[1:], [*TURNS, TURNS[0]]])
def test_turns_must_alternate(name: str, messages: list[dict[str, str]]) -> None:
    with pytest.raises(jinja2.exceptions.TemplateError, match="must alternate"):
        render(name, messages)


@pytest.mark.parametrize("name", ["chatml", "qwen2", "llama-3", "phi-3"])
def test_others_take_any_order(name: str) -> None:
    assert render(name, ONE * 2).count("Hi") == 2


def test_where_the_system_text_goes_in_a_longer_talk() -> None:
    first = render("mistral-v0.1", [SYSTEM, *TURNS])
    assert first.startswith("<s> [INST] Be brief.\n\n Hi  [/INST]") and first.count("brief") == 1
    for name in ("mistral-v0.3", "mistral-nemo"):
        last = render(name, [SYSTEM, *TURNS])
        assert last.endswith("Be brief.\n\nWhy?[/INST]") and last.count("brief") == 1
        # The published templates look at the last message only: before an answer, the text is lost.
        assert "brief" not in render(name, [SYSTEM, *TURNS[:2]])


def test_the_date_is_given_or_asked_for() -> None:
    def asked(form: str) -> str:
        assert form == "%d %b %Y"
        return "01 Feb 2026"

    assert "Today Date: 09 May 2025\n" in render("llama-3.1", ONE, date_string="09 May 2025")
    assert "Today Date: 01 Feb 2026\n" in render("llama-3.1", ONE, strftime_now=asked)


@pytest.mark.parametrize(
    ("name", "end"),
    [("llama-3", "Hi<|eot_id|>"), ("chatml", "Hi<|im_end|>\n"), ("phi-3", "Hi<|end|>\n<|endoftext|>"), ("gemma", "Hi<end_of_turn>\n")],
)  # fmt: skip
def test_without_a_generation_prompt(name: str, end: str) -> None:
    assert render(name, ONE, add_generation_prompt=False).endswith(end)


def test_two_templates_show_an_engine_that_keeps_line_ends_after_blocks() -> None:
    wrong = [n for n in [*ALTERNATE, "llama-3", "llama-3.1", "qwen2", "qwen2.5", "chatml", "phi-3"]
             if render(n, ONE, blocks=False) != render(n, ONE)]  # fmt: skip
    assert wrong == ["llama-3.1", "chatml"]


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_per_family(name: str, tmp_path: Path) -> None:
    manifest = models.find(f"tiny-{name}", tmp_path)
    assert manifest.synthetic and manifest.tokenizer == "hf"
    assert {key: spec.format for key, spec in manifest.artifacts.items()} == {
        "hf": "hf", "gguf": "gguf", "onnx": "onnx"
    }  # fmt: skip
    source = manifest.spec("hf").source
    assert source is not None and source.model_dump() == {"family": name}


def test_an_unknown_family_is_told_with_the_known_ones(write: Callable[[str], Any]) -> None:
    with pytest.raises(BadInput) as caught:
        write("a:\n  format: hf\n  precision: f32\n  source: {family: lama-3}")
    said = str(caught.value)
    assert "unknown family 'lama-3', did you mean 'llama-3'" in said and "gemma" in said
    with pytest.raises(BadInput, match="a family is made as hf in f32"):
        write("a: {format: gguf, precision: f32, source: {family: llama-3}}")
    with pytest.raises(BadInput, match=r"a\.source\.family"):
        write("a: {format: hf, precision: f32, source: {family: ../llama-3}}")


def test_a_changed_template_changes_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "families"
    folder.mkdir()
    for path in families.FOLDER.glob("gemma.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(families, "FOLDER", folder)
    before = families.recipe("gemma")
    assert before == families.recipe("gemma") and before["family"] == "gemma"
    for changed, key in (("gemma.jinja", "template_sha256"), ("gemma.yaml", "family_sha256")):
        with (folder / changed).open("a") as file:
            file.write("\n")
        now = families.recipe("gemma")
        assert {k for k in now if now[k] != before[k]} == {key}
        before = now


@pytest.mark.engine
def test_the_same_family_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        job = {"source": str(families.known()["qwen2"]), "target": str(tmp_path / name)}
        subprocess.run(
            [sys.executable, str(conversions.TINY.script), json.dumps(job)],
            check=True,
            capture_output=True,
        )
        found.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert found[0] == found[1]
    assert set(found[0]) == {
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


@pytest.mark.engine
def test_a_broken_family_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "families"
    folder.mkdir()
    text = (families.FOLDER / "gemma.yaml").read_text()
    (folder / "gemma.yaml").write_text(text.replace("eos: '<eos>'", "eos: '<end>'"))
    (folder / "gemma.jinja").write_text("")
    manifest = models.find("tiny-gemma", tmp_path)
    monkeypatch.setattr(families, "FOLDER", folder)
    with pytest.raises(PrepareFailed, match="eos '<end>' is not in `special`"):
        models.prepare(manifest, "hf")
