"""Templates that attack, and models and conversations that are broken: a verdict, or exit code 2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import models
from harness.models import conversions
from results import store, templates
from results.records import Record

pytestmark = pytest.mark.engine

BAKEOFF = Path(sys.executable).parent / "bakeoff"
MIB = 1 << 20
ENGINES = ("-b", "llamacpp", "-b", "onnx", "-b", "transformers")

HOSTILE = {
    "loop": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
        "{% endfor %}{% endfor %}{% endfor %}{{ messages[0]['content'] }}"
    ),
    "gigabyte": "{% set a = 'aaaaaaaaaa' * 100000000 %}{{ a }}{{ messages[0]['content'] }}",
    "attributes": "{{ ''.__class__ }}{{ messages[0]['content'] }}",
}

CONVERSATIONS = """\
conversations:
  - name: one
    messages: [{role: user, content: Hello}]
"""


def bakeoff(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BAKEOFF), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def tiny() -> dict[str, Path]:
    manifest = models.find("tiny-chatml", Path.cwd())
    return {name: models.prepare(manifest, name).artifact.path for name in ("hf", "onnx")}


def with_template(source: Path, target: Path, template: str | None) -> Path:
    """A copy of a model's folder that says another chat template, or none."""
    shutil.copytree(source, target)
    config = json.loads((target / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (target / "chat_template.jinja").unlink(missing_ok=True)
    if template is not None:
        config["chat_template"] = template
        (target / "chat_template.jinja").write_text(template)
    (target / "tokenizer_config.json").write_text(json.dumps(config))
    return target


def manifest_of(folder: Path, tiny: dict[str, Path], template: str) -> str:
    """A model with this template in all three formats, as a manifest in `folder`."""
    hf = with_template(tiny["hf"], folder / "hf", template)
    with_template(tiny["onnx"], folder / "onnx", template)
    conversions.convert(
        conversions.CONVERSIONS["hf-gguf"], hf, folder / "model.gguf",
        conversions.CONVERSIONS["hf-gguf"].options("f32", {}),
        scratch=folder, log=folder / "log",
    )  # fmt: skip
    (folder / "hostile.yaml").write_text(
        "id: hostile\nname: Hostile\nlicense: mit\ncontext_length: 2048\ntokenizer: hf\n"
        "synthetic: true\nartifacts:\n"
        "  hf: {format: hf, precision: f32, source: {path: hf}}\n"
        "  gguf: {format: gguf, precision: f32, source: {path: model.gguf}}\n"
        "  onnx: {format: onnx, precision: f32, source: {path: onnx}}\n"
    )
    return "./hostile.yaml"


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_template_is_stopped_in_every_worker(
    tmp_path: Path, tiny: dict[str, Path], attack: str
) -> None:
    model = manifest_of(tmp_path, tiny, HOSTILE[attack])
    (tmp_path / "one.yaml").write_text(CONVERSATIONS)
    done = bakeoff(
        tmp_path,
        "templates",
        "check",
        model,
        *ENGINES,
        "--conversations",
        "one.yaml",
        "--out",
        "out",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    run = store.read(tmp_path / "out")
    assert not run.missing
    by_engine: dict[str, Record] = {r.case.backend: r for r in run.records}
    assert set(by_engine) == {"reference", "llamacpp", "onnx", "transformers"}
    for engine, record in by_engine.items():
        assert record.status == "ok", (engine, record.reason)
        assert [r.conversation for r in record.renderings] == ["one"]
        for rendering in record.renderings:
            assert rendering.status != "unsupported"
            if attack == "attributes" and engine == "reference":
                assert rendering.status == "broken"
                assert "must not" in str(rendering.reason)
            elif attack != "attributes":
                assert rendering.status != "rendered", (engine, rendering.text[:80])
            assert "<class" not in rendering.text
        span = record.span("templates")
        assert span is not None
        assert (span.end_ns - span.start_ns) / 1e9 < 15  # 4 s, and what a busy machine adds
        assert record.memory is not None
        before = [p.rss for p in record.memory.points if p.at_ns <= span.start_ns]
        during = [p.rss for p in record.memory.points if p.at_ns <= span.end_ns]
        assert max(during) - max(before, default=0) < 512 * MIB
    (model_view,) = templates.matrix(run)
    assert all(cell.findings for arm in model_view.arms for cell in arm.cells)


def test_a_hostile_template_cannot_hold_up_the_preparation_of_texts(
    tmp_path: Path, tiny: dict[str, Path]
) -> None:
    model = manifest_of(tmp_path, tiny, HOSTILE["gigabyte"])
    (tmp_path / "s.yaml").write_text(
        f"name: s\nmodels: [{model}]\nbackends: [onnx]\n"
        "measures: [quality: {items: 4, output_tokens: 4, seeds: 1}]\nplan: {trials: 1, audit: false}\n"
    )
    done = bakeoff(tmp_path, "run", "s.yaml", "--out", "out")
    assert done.returncode == 3, done.stdout + done.stderr
    (record,) = store.read(tmp_path / "out").records
    assert "none of the texts could be encoded" in str(record.reason)


def test_a_link_to_a_model_and_two_models_of_one_name(tmp_path: Path) -> None:
    cached = models.find("tiny-chatml", Path.cwd())
    gguf = models.prepare(cached, "gguf").artifact.path
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / f"blob-{name}").write_bytes(gguf.read_bytes())
        (tmp_path / name / "m.gguf").symlink_to(tmp_path / f"blob-{name}")
    done = bakeoff(
        tmp_path, "templates", "check", "a/m.gguf", "-b", "llamacpp", "--no-harm", "--out", "out"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "prefill closed" in done.stdout
    (tmp_path / "s.yaml").write_text(
        "name: s\nmodels: [a/m.gguf, b/m.gguf]\nbackends: [llamacpp]\nmeasures: [load]\n"
    )
    done = bakeoff(tmp_path, "plan", "s.yaml")
    assert done.returncode == 2 and "expected models of different names" in done.stderr


def no_template(folder: Path) -> None:
    with_template(folder, folder.with_name("copy"), None)
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)


def bad_syntax(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}\n{{ m.content }")


def template_is_a_number(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": 7}))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def tokenizer_is_no_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def no_special_tokens(folder: Path) -> None:
    path = folder / "tokenizer.json"
    data: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "added_tokens": [], "post_processor": None}))


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (no_template, "the model has no chat template"),
        (bad_syntax, "line 2 of the template"),
        (template_is_a_number, "chat_template is not text"),
        (no_tokenizer, "has no tokenizer.json"),
        (tokenizer_is_no_json, "is no tokenizer"),
    ],
)
def test_a_broken_model_gets_a_verdict_with_the_reason(
    tmp_path: Path, tiny: dict[str, Path], breakage: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(tiny["hf"], tmp_path / "model")
    breakage(tmp_path / "model")
    (tmp_path / "one.yaml").write_text(CONVERSATIONS)
    done = bakeoff(
        tmp_path, "templates", "check", "./model", "-b", "transformers", "--no-harm", "--conversations", "one.yaml",
        "--out", "out",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in " ".join(done.stdout.split())
    page = (tmp_path / "out" / "report.html").read_text()
    assert message in page


def test_a_tokenizer_without_special_tokens_shows_in_the_ids(
    tmp_path: Path, tiny: dict[str, Path]
) -> None:
    shutil.copytree(tiny["hf"], tmp_path / "model")
    no_special_tokens(tmp_path / "model")
    bakeoff(tmp_path, "templates", "check", "./model", "--out", "out")
    run = store.read(tmp_path / "out")
    reference = next(r for r in run.records if r.case.backend == "reference")
    assert reference.conditions["vocabulary"]["special"] == {}
    assert all(r.status in ("rendered", "rejected") for r in reference.renderings)


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("conversations:\n  - name: a\n    messages: [{role: user}]\n", ":3", "messages.0.content: is missing"),
        ("conversations:\n  - name: a\n    messages: [{role: user, content: 7}]\n", ":3", "valid string, not 7"),
        ("conversations:\n  - name: a\n    messages: [{role: user, content: [x]}]\n", ":3", "valid string"),
        ("conversations:\n  - name: a\n    messages: []\n", ":3", "at least 1"),
        ("conversations: []\n", ":1", "at least 1"),
        ("conversations:\n  - name: a\n    messages: [{role: user, content: x}]\n    prefil: true\n", ":4", "did you mean 'prefill'"),
        ("conversations:\n  - name: a\n    prefill: true\n    messages: [{role: user, content: x}]\n", ":2", "expected the last message to be an assistant's"),
        ("conversations:\n" + "  - {name: a, messages: [{role: user, content: x}]}\n" * 2, ":3", "'a' is there twice"),
        ("- name: a\n", ":1", "expected a mapping"),
    ],
)  # fmt: skip
def test_broken_conversations_are_refused_with_their_line(
    tmp_path: Path, text: str, where: str, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    done = bakeoff(
        tmp_path, "templates", "check", "tiny-chatml", "--conversations", "mine.yaml", "--out", "o"
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"mine.yaml{where}" in done.stderr
    assert message in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./nothing"], "no such file"),
        (["."], "holds no model: expected config.json"),
        (["./garbage.gguf"], "does not begin with GGUF"),
        (["tiny-chatmll"], "did you mean 'tiny-chatml'"),
        (["tiny-chatml", "--conversations", "standart"], "did you mean 'standard'"),
        (["tiny-chatml", "-b", "llamacp"], "did you mean 'llamacpp'"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "garbage.gguf").write_bytes(b"nonsense" * 100)
    done = bakeoff(tmp_path, "templates", "check", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()
