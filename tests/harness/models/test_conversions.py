"""What the scripts of conversions refuse before they work for long, and what they write besides weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends import mlc
from harness.models.conversions import CONVERSIONS, INSTALL
from harness.models.convert import (
    dequantize,
    executorch_export,
    hf_ctranslate2,
    hf_gguf,
    litert_lm_export,
)

LLAMA = {
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "vocab_size": 600,
    "eos_token_id": 2,
}


def folder(path: Path, **files: dict[str, Any]) -> Path:
    """Of JSON files, by their names without the ending."""
    path.mkdir()
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def job(source: Path) -> str:
    target = source.with_name("made")
    return json.dumps(
        {"source": str(source), "target": str(target), "options": {"precision": "f32"}}
    )


def test_the_remedy_brings_the_tool() -> None:
    assert CONVERSIONS["mlc"].remedy == mlc.REMEDY
    assert "--find-links https://mlc.ai/wheels" in mlc.REMEDY
    assert CONVERSIONS["hf-ctranslate2"].remedy == "bakeoff engines install ctranslate2"
    assert CONVERSIONS["hf-gguf"].remedy == INSTALL


@pytest.mark.parametrize(
    "config",
    [
        {"rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {"rope_parameters": {"type": "linear", "factor": 4.0, "rope_theta": 1e4}},
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
            "rope_scaling": {"type": "linear", "factor": 4.0},
        },
    ],
)
def test_executorch_gets_no_model_with_another_rope(config: dict[str, Any]) -> None:
    with pytest.raises(executorch_export.Unsupported, match="RoPE of type 'linear'"):
        executorch_export.shape({**LLAMA, **config})


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"rope_scaling": None},
        {"rope_scaling": {"type": "default"}},
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    ],
)
def test_executorch_gets_a_plain_rope(config: dict[str, Any]) -> None:
    assert executorch_export.shape({**LLAMA, **config})["rope_theta"] == 10000.0


def test_executorch_guesses_no_rope_theta() -> None:
    with pytest.raises(executorch_export.Unsupported, match="no rope_theta"):
        executorch_export.shape({**LLAMA, "rope_theta": None})


def test_executorch_needs_the_tokenizer_before_the_export(tmp_path: Path) -> None:
    source = folder(tmp_path / "hf", config=LLAMA, generation_config={"eos_token_id": 2})
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json is missing"):
        executorch_export.main(job(source))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("ends", [None, "</s>", [], [2, None]])
def test_executorch_needs_an_end_before_the_export(tmp_path: Path, ends: object) -> None:
    source = folder(tmp_path / "hf", config={**LLAMA, "eos_token_id": ends}, tokenizer={})
    with pytest.raises(ValueError, match="eos_token_id is"):
        executorch_export.main(job(source))
    assert not (tmp_path / "made").exists()


def test_executorch_takes_the_end_of_either_config(tmp_path: Path) -> None:
    without = folder(tmp_path / "without")
    assert executorch_export.end_ids(without, LLAMA) == [2]
    silent = folder(tmp_path / "silent", generation_config={})
    assert executorch_export.end_ids(silent, LLAMA) == [2]
    told = folder(tmp_path / "told", generation_config={"eos_token_id": [7, 8]})
    assert executorch_export.end_ids(told, LLAMA) == [7, 8]


def test_ctranslate2_gets_a_text_for_special_tokens_only(tmp_path: Path) -> None:
    written = {"bos_token": None, "eos_token": "é", "unk_token": None, "layer_norm_epsilon": None}
    folder(tmp_path / "made", config=written)
    config = tmp_path / "made" / "config.json"
    hf_ctranslate2.name_every_token(config)
    assert json.loads(config.read_text("utf-8")) == {**written, "bos_token": "", "unk_token": ""}
    config.write_text(json.dumps({"layer_norm_epsilon": 1e-5}))
    hf_ctranslate2.name_every_token(config)
    assert json.loads(config.read_text("utf-8")) == {"layer_norm_epsilon": 1e-5}


def test_litert_lm_gets_the_template_to_the_letter(tmp_path: Path) -> None:
    text_format = pytest.importorskip("google.protobuf.text_format")
    wrappers = pytest.importorskip("google.protobuf.wrappers_pb2")
    controls = "".join(chr(i) for i in range(32) if chr(i) != "\r")  # a text file has no \r
    template = f"{{{{ 'é 漢 😀' }}}}\n\"quoted\" \\n \\\\x4 \\u0041 \u2028\x7f\x85{controls}"
    source = folder(tmp_path / "hf", config=LLAMA)
    (source / "chat_template.jinja").write_text(template, "utf-8")
    (line,) = [
        line
        for line in litert_lm_export.metadata(source, 64).split("\n")
        if line.startswith("jinja_prompt_template: ")
    ]
    told = line.replace("jinja_prompt_template", "value")
    assert text_format.Parse(told, wrappers.StringValue()).value == template


def test_litert_lm_finds_the_template_where_the_conversion_to_gguf_does(tmp_path: Path) -> None:
    settings = {"chat_template": "{{ 'inside' }}"}
    source = folder(tmp_path / "hf", config=LLAMA, tokenizer_config=settings)
    assert "jinja_prompt_template: \"{{ 'inside' }}\"\n" in litert_lm_export.metadata(source, 64)
    (source / "chat_template.jinja").write_text("{{ 'beside' }}", "utf-8")
    assert "jinja_prompt_template: \"{{ 'beside' }}\"\n" in litert_lm_export.metadata(source, 64)
    assert litert_lm_export.chat_template(source) == hf_gguf.chat_template(source, settings)
    several = {"chat_template": [{"name": "default", "template": "x"}]}
    source = folder(tmp_path / "several", config=LLAMA, tokenizer_config=several)
    with pytest.raises(Exception, match="more than one chat template"):
        litert_lm_export.metadata(source, 64)
    source = folder(tmp_path / "none", config=LLAMA)
    assert "jinja_prompt_template" not in litert_lm_export.metadata(source, 64)


def gguf_with(path: Path, model: str, pre: str | None) -> Path:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("model", "pre", "found"),
    [
        ("gpt2", "llama-bpe", "llama-bpe"),
        ("gpt2", None, ""),
        ("llama", "default", None),
        ("llama", None, None),
    ],
)
def test_the_way_to_split_is_that_of_a_byte_level_vocabulary(
    tmp_path: Path, model: str, pre: str | None, found: str | None
) -> None:
    assert dequantize.splitting(gguf_with(tmp_path / "a.gguf", model, pre)) == found


@pytest.mark.parametrize("pre", [None, "gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"])
def test_a_way_to_split_that_is_known_is_taken(pre: str | None) -> None:
    pytest.importorskip("transformers", reason="pip install 'bakeoff[transformers]'")
    dequantize.check_splitting(pre)


@pytest.mark.parametrize("pre", ["", "default", "command-r", "deepseek-llm", "new"])
def test_a_way_to_split_that_would_be_lost_is_refused(pre: str) -> None:
    pytest.importorskip("transformers", reason="pip install 'bakeoff[transformers]'")
    with pytest.raises(dequantize.Unsupported, match=f"tokenizer.ggml.pre {pre!r}: .* other ids"):
        dequantize.check_splitting(pre)


def test_a_transformers_without_the_table_takes_what_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = "transformers.integrations.gguf.gguf_tokenizer_mapping"
    monkeypatch.setitem(sys.modules, table, None)
    dequantize.check_splitting("smollm")
    with pytest.raises(dequantize.Unsupported, match=r"llama-bpe.*5\.18 is the first"):
        dequantize.check_splitting("llama-bpe")


def test_a_file_whose_splitting_would_be_lost_is_refused_before_it_is_loaded(
    tmp_path: Path,
) -> None:
    pytest.importorskip("transformers", reason="pip install 'bakeoff[transformers]'")
    source, target = gguf_with(tmp_path / "a.gguf", "gpt2", "starcoder"), tmp_path / "made"
    told = json.dumps({"source": str(source), "target": str(target)})
    done = subprocess.run(
        [sys.executable, dequantize.__file__, told], capture_output=True, text=True
    )
    assert done.returncode == 1 and "Unsupported: tokenizer.ggml.pre 'starcoder'" in done.stderr
    assert not target.exists()
