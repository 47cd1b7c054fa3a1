"""The tiny models load in the real engines, which agree on ids and numbers; what is not plain is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.api import Artifact, LoadOptions, Request
from backends.llamacpp import LlamaCpp
from backends.onnx import OnnxGenAI
from backends.transformers import Transformers
from harness import models, places
from harness.models import conversions
from harness.models.convert import hf_gguf

Made = Callable[[str, str], Artifact]

# What engines' own imports warn of is not ours to mend.
lenient = pytest.mark.filterwarnings("default")
# One family for each way of splitting text before BPE.
PRE = {
    "llama-3": "llama-bpe",
    "qwen2": "qwen2",
    "mistral-nemo": "tekken",
    "chatml": "smollm",
    "llama-2": "gpt-2",
}
TEXTS = [
    "Hello world",
    "One.\n\nTwo!\n\n\n  - three \n",
    "In 2024, 12345 and 7; 123x",
    "it's IT'S we'll WE'LL don’t",
    "  lead  1 2  34 and tail  ",
    "x/y//z\r\n!?\n\n--\t tab",
    "naïve 漢字 😀 non\u00a0breaking\u3000space",
    "CamelCaseHTTPServer éTÉ Ωmega мир",
    " \n \n x",
    "",
]
PROMPT = "The tide rises twice a day.\n\nWhy does it?"
OPTIONS = {
    "llamacpp": LoadOptions(context=256, threads=1, extra={"type_k": "f32", "type_v": "f32"}),
    "onnx": LoadOptions(context=256, threads=1),
    "transformers": LoadOptions(context=256, threads=1),
}


@pytest.fixture(scope="module")
def made() -> Made:
    """From a family and an artifact's name to the artifact, in bakeoff's own model cache."""
    cache = places.cache()  # before a test's own cache replaces it

    def prepare(family: str, name: str) -> Artifact:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BAKEOFF_CACHE", str(cache))
            return models.prepare(models.find(f"tiny-{family}", Path.cwd()), name).artifact

    return prepare


@contextmanager
def loaded(adapter: Callable[[], Any], artifact: Artifact) -> Iterator[Any]:
    engine = adapter()
    engine.load(artifact, OPTIONS[engine.name])
    try:
        yield engine
    finally:
        engine.close()


def ids_by(adapter: Callable[[], Any], artifact: Artifact, texts: list[str]) -> list[list[int]]:
    with loaded(adapter, artifact) as engine:
        return [engine.tokenize(text) for text in texts]


def specials(folder: Path) -> dict[str, int]:
    content = json.loads((folder / "tokenizer.json").read_text())
    return {token["content"]: token["id"] for token in content["added_tokens"]}


@lenient
@pytest.mark.engine
@pytest.mark.parametrize("family", PRE)
def test_text_becomes_the_same_ids_everywhere(made: Made, family: str) -> None:
    from tokenizers import Tokenizer

    folder = made(family, "hf")
    texts = [*TEXTS, *(f"a {token}\n\n1{token} b" for token in specials(folder.path))]
    tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
    reference = [tokenizer.encode(text).ids for text in texts]
    assert ids_by(LlamaCpp, made(family, "gguf"), texts) == reference
    assert ids_by(Transformers, folder, texts) == reference
    settings = json.loads((folder.path / "tokenizer_config.json").read_text())
    assert settings["bakeoff_pre"] == PRE[family]


@lenient
@pytest.mark.engine
@pytest.mark.parametrize("family", ["llama-3", "qwen2", "mistral-nemo", "chatml"])
def test_the_wrong_way_to_split_would_be_seen(made: Made, family: str, tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    target = tmp_path / "wrong.gguf"
    other = "smollm" if family == "qwen2" else "gpt-2"
    hf_gguf.convert(made(family, "hf").path, target, other)
    wrong = Artifact(model="m", name="wrong", format="gguf", path=target)
    right = made(family, "gguf")
    assert ids_by(LlamaCpp, wrong, TEXTS) != ids_by(LlamaCpp, right, TEXTS)


@lenient
@pytest.mark.engine
@pytest.mark.parametrize("family", ["llama-3", "llama-2", "qwen2", "gemma", "phi-3"])
def test_transformers_knows_the_special_tokens_and_the_template(made: Made, family: str) -> None:
    from transformers import AutoTokenizer

    folder = made(family, "hf").path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, number in specials(folder).items():
        assert tokenizer.encode(text, add_special_tokens=False) == [number]
    assert tokenizer.decode(tokenizer.encode("a\n\n 12", add_special_tokens=False)) == "a\n\n 12"
    assert tokenizer.chat_template == (folder / "chat_template.jinja").read_text()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert (tokenizer.bos_token, tokenizer.eos_token) == (
        settings["bos_token"], settings["eos_token"]
    )  # fmt: skip
    talk = [{"role": "user", "content": "Hi"}]
    once = tokenizer.apply_chat_template(talk, tokenize=True, add_generation_prompt=True)
    ids = once if isinstance(once, list) else once["input_ids"]
    if settings["bos_token"] and family != "phi-3":
        assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id


@lenient
@pytest.mark.engine
@pytest.mark.parametrize("family", ["llama-3", "llama-2", "qwen2", "phi-3"])
def test_the_gguf_says_what_the_folder_says(made: Made, family: str) -> None:
    import llama_cpp

    folder = made(family, "hf").path
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokens = specials(folder)
    with loaded(LlamaCpp, made(family, "gguf")) as engine:
        vocab = engine._vocab
        template = llama_cpp.llama_model_chat_template(engine._model, None)
        adds = llama_cpp.llama_vocab_get_add_bos(vocab)
        bos, eos = llama_cpp.llama_vocab_bos(vocab), llama_cpp.llama_vocab_eos(vocab)
        control = {
            i for i in range(llama_cpp.llama_vocab_n_tokens(vocab))
            if llama_cpp.llama_vocab_get_attr(vocab, i) & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        }  # fmt: skip
    expected = None if family == "llama-2" else settings["chat_template"].encode()
    assert template == expected
    assert adds == (family in ("llama-3", "llama-2"))
    assert eos == tokens[settings["eos_token"]]
    assert bos == (tokens[settings["bos_token"]] if settings["bos_token"] else min(tokens.values()))
    assert control == set(tokens.values())


@lenient
@pytest.mark.engine
@pytest.mark.parametrize(
    ("family", "known_as"),
    [("llama-3-published", "llama-3"), ("mistral-v0.1-published", "mistral-instruct"), ("chatml-published", "chatml"), ("llama-3", None)],
)  # fmt: skip
def test_llama_cpp_python_knows_the_published_templates(
    made: Made, family: str, known_as: str | None
) -> None:
    import llama_cpp
    from llama_cpp.llama_chat_format import guess_chat_format_from_gguf_metadata as guess

    with loaded(LlamaCpp, made(family, "gguf")) as engine:
        template = llama_cpp.llama_model_chat_template(engine._model, None)
    assert guess({"tokenizer.chat_template": template.decode()}) == known_as


@lenient
@pytest.mark.engine
@pytest.mark.parametrize("family", ["llama-3", "qwen2"])
def test_three_engines_generate_the_same(made: Made, family: str) -> None:
    """The q/k permutation, the norms and the BOS are right: else random weights agree nowhere."""
    np = pytest.importorskip("numpy")
    made_by = {}
    numbers = {}
    with loaded(Transformers, made(family, "hf")) as engine:
        request = Request(prompt_ids=tuple(engine.tokenize(PROMPT)), max_tokens=3)
        made_by["transformers"] = [token.id for token in engine.generate(request)]
        with engine._torch.inference_mode():
            prompt = engine._torch.tensor([request.prompt_ids])
            numbers["transformers"] = engine._model(prompt).logits[0, -1].numpy()
    with loaded(LlamaCpp, made(family, "gguf")) as engine:
        made_by["llamacpp"] = [token.id for token in engine.generate(request)]
        list(engine.generate(Request(prompt_ids=request.prompt_ids, max_tokens=1)))
        row = engine._lib.llama_get_logits_ith(engine._context, -1)
        numbers["llamacpp"] = np.ctypeslib.as_array(row, (engine._vocab_size,)).copy()
    with loaded(OnnxGenAI, made(family, "onnx")) as engine:
        made_by["onnx"] = [token.id for token in engine.generate(request)]
    assert np.abs(numbers["transformers"] - numbers["llamacpp"]).max() < 0.01
    assert np.abs(numbers["transformers"]).max() > 1
    assert made_by["llamacpp"] == made_by["transformers"] == made_by["onnx"]


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 600,
}
TOKENIZER = {
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}]},
    "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
}


@pytest.mark.parametrize(
    ("config", "tokenizer", "settings", "reason"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, {}, {}, "only LlamaForCausalLM"),
        ({"attention_bias": True}, {}, {}, "attention_bias: only Llama models without"),
        ({"hidden_act": "gelu"}, {}, {}, "hidden_act 'gelu': only silu"),
        ({"rope_scaling": {"rope_type": "llama3"}}, {}, {}, "RoPE of type 'llama3'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, {}, {}, "RoPE of type 'yarn'"),
        ({}, {"model": {"type": "Unigram"}}, {}, "tokenizer Unigram: only byte-level BPE"),
        ({}, {"pre_tokenizer": {"type": "Metaspace"}}, {}, "tokenizer BPE: only byte-level BPE"),
        ({}, {"normalizer": {"type": "NFC"}}, {}, "byte fallback or a normalizer"),
        ({}, {}, {"bakeoff_pre": None}, "give the option `pre`"),
        ({}, {}, {}, "weights in other files than one model.safetensors"),
    ],
)
def test_what_it_cannot_convert_is_refused(
    tmp_path: Path,
    config: dict[str, Any],
    tokenizer: dict[str, Any],
    settings: dict[str, Any],
    reason: str,
) -> None:
    pytest.importorskip("safetensors")
    folder = tmp_path / "hf"
    folder.mkdir()
    for name, content in (
        ("config.json", {**CONFIG, **config}),
        ("tokenizer.json", {**TOKENIZER, **tokenizer}),
        ("tokenizer_config.json", {"eos_token": "a", "bakeoff_pre": "gpt-2", **settings}),
    ):
        (folder / name).write_text(json.dumps(content))
    job = {"source": str(folder), "target": str(tmp_path / "x.gguf"), "options": {}}
    script = conversions.CONVERSIONS["hf-gguf"].script
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(job)], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert reason in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x.gguf").exists()


@lenient
@pytest.mark.engine
def test_tied_weights_and_other_hints(made: Made, tmp_path: Path) -> None:
    """A folder with one matrix for both ends; text that the tokenizer does not know as special."""
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "hf"
    shutil.copytree(made("qwen2", "hf").path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    hf_gguf.convert(folder, tmp_path / "x.gguf", None)
    request = Request(prompt_ids=(1, 2, 3), max_tokens=3)
    found = []
    for adapter, path in ((Transformers, folder), (LlamaCpp, tmp_path / "x.gguf")):
        artifact = Artifact(model="m", name="x", format="x", path=path)
        with loaded(adapter, artifact) as engine:
            found.append([token.id for token in engine.generate(request)])
    assert found[0] == found[1]

    (folder / "model.safetensors").unlink()
    weights["model.layers.0.self_attn.q_proj.bias"] = weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(hf_gguf.Unsupported, match=r"q_proj\.bias"):
        hf_gguf.convert(folder, tmp_path / "y.gguf", None)
