"""Templates that attack, and models and conversations that are broken: a verdict, or exit code 2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import models
from harness.chat import cli as chat_cli
from results import store, templates
from results.records import Record

pytestmark = pytest.mark.engine

BAKEOFF = Path(sys.executable).parent / "bakeoff"
MIB = 1 << 20
Ended = subprocess.CompletedProcess[str]

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


def bakeoff(folder: Path, *arguments: str | Path) -> Ended:
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
def here(in_this_process: Callable[..., Ended], warm_transformers: Path) -> Callable[..., Ended]:
    """A `bakeoff` command in this process, with an interpreter for transformers that is warm."""
    return partial(in_this_process, variables={"COLUMNS": "80"}, warm=warm_transformers)


@pytest.fixture(scope="module")
def tiny() -> dict[str, Path]:
    manifest = models.find("tiny-chatml", Path.cwd())
    return {name: models.prepare(manifest, name).artifact.path for name in ("hf", "gguf", "onnx")}


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


def manifest_of(folder: Path, tiny: dict[str, Path], name: str, template: str) -> str:
    """A model of this name with this template in all three formats, as a manifest in `folder`."""
    home = folder / name
    home.mkdir()
    with_template(tiny["hf"], home / "hf", template)
    with_template(tiny["onnx"], home / "onnx", template)
    (home / "template.jinja").write_text(template)
    subprocess.run(
        [
            BAKEOFF.with_name("gguf-new-metadata"), tiny["gguf"], home / "model.gguf",
            "--chat-template-file", home / "template.jinja", "--force",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    assert template.encode() in (home / "model.gguf").read_bytes()
    (folder / f"{name}.yaml").write_text(
        f"id: {name}\nname: Hostile\nlicense: mit\ncontext_length: 2048\ntokenizer: hf\n"
        "synthetic: true\nartifacts:\n"
        f"  hf: {{format: hf, precision: f32, source: {{path: {name}/hf}}}}\n"
        f"  gguf: {{format: gguf, precision: f32, source: {{path: {name}/model.gguf}}}}\n"
        f"  onnx: {{format: onnx, precision: f32, source: {{path: {name}/onnx}}}}\n"
    )
    return f"./{name}.yaml"


@pytest.fixture(scope="module")
def hostile(
    tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Path], here: Callable[..., Ended]
) -> store.Run:
    """One run over a model for each attack. Not by warm workers: how they grow is looked at."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = [manifest_of(folder, tiny, name, template) for name, template in HOSTILE.items()]
    (folder / "one.yaml").write_text(CONVERSATIONS)
    (folder / "s.yaml").write_text(
        f"name: s\nmodels: [{', '.join(paths)}]\nbackends: [llamacpp, onnx, transformers]\n"
        "measures: [templates: {conversations: one.yaml}]\nplan: {trials: 1, threads: 1}\n"
    )
    done = here(folder, "run", "s.yaml", "--out", "out", warm=None)
    assert done.returncode == 0, done.stdout + done.stderr
    return store.read(folder / "out")


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_template_is_stopped_in_every_worker(hostile: store.Run, attack: str) -> None:
    assert not hostile.missing
    by_engine: dict[str, Record] = {
        r.case.backend: r for r in hostile.records if r.case.model == attack
    }
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
    (model,) = (one for one in templates.matrix(hostile) if one.name == attack)
    assert all(cell.findings for arm in model.arms for cell in arm.cells)
    assert chat_cli._different(of_model(hostile, attack))  # `templates check` would end with 1


def of_model(run: store.Run, name: str) -> store.Run:
    trials = tuple(trial for trial in run.info.trials if trial.case.model == name)
    records = tuple(record for record in run.records if record.case.model == name)
    return replace(run, info=replace(run.info, trials=trials), records=records)


def test_a_hostile_template_cannot_hold_up_the_preparation_of_texts(
    tmp_path: Path, tiny: dict[str, Path], here: Callable[..., Ended]
) -> None:
    model = manifest_of(tmp_path, tiny, "hostile", HOSTILE["gigabyte"])
    (tmp_path / "s.yaml").write_text(
        f"name: s\nmodels: [{model}]\nbackends: [onnx]\n"
        "measures: [quality: {items: 4, output_tokens: 4, seeds: 1}]\nplan: {trials: 1, audit: false}\n"
    )
    done = here(tmp_path, "run", "s.yaml", "--out", "out")
    assert done.returncode == 3, done.stdout + done.stderr
    (record,) = store.read(tmp_path / "out").records
    assert "none of the texts could be encoded" in str(record.reason)


def test_a_link_to_a_model_and_two_models_of_one_name(
    tmp_path: Path, tiny: dict[str, Path], here: Callable[..., Ended]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / f"blob-{name}").write_bytes(tiny["gguf"].read_bytes())
        (tmp_path / name / "m.gguf").symlink_to(tmp_path / f"blob-{name}")
    done = bakeoff(
        tmp_path, "templates", "check", "a/m.gguf", "-b", "llamacpp", "--no-harm", "--out", "out"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "prefill closed" in done.stdout
    (tmp_path / "s.yaml").write_text(
        "name: s\nmodels: [a/m.gguf, b/m.gguf]\nbackends: [llamacpp]\nmeasures: [load]\n"
    )
    done = here(tmp_path, "plan", "s.yaml")
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


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no-template": (no_template, "the model has no chat template"),
    "bad-syntax": (bad_syntax, "line 2 of the template"),
    "template-is-a-number": (template_is_a_number, "chat_template is not text"),
    "no-tokenizer": (no_tokenizer, "has no tokenizer.json"),
    "tokenizer-is-no-json": (tokenizer_is_no_json, "is no tokenizer"),
}


@pytest.fixture(scope="module")
def broken(
    tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Path], here: Callable[..., Ended]
) -> tuple[store.Run, str]:
    """One run over a model for each breakage, and what it printed."""
    folder = tmp_path_factory.mktemp("broken")
    for name, (breakage, _) in BROKEN.items():
        shutil.copytree(tiny["hf"], folder / name)
        breakage(folder / name)
    (folder / "one.yaml").write_text(CONVERSATIONS)
    (folder / "s.yaml").write_text(
        f"name: s\nmodels: [{', '.join(f'./{name}' for name in BROKEN)}]\nbackends: [transformers]\n"
        "measures: [templates: {conversations: one.yaml, harm: false}]\n"
        "plan: {trials: 1, threads: 1}\n"
    )
    done = here(folder, "run", "s.yaml", "--out", "out")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    return store.read(folder / "out"), done.stdout


@pytest.mark.parametrize("breakage", BROKEN)
def test_a_broken_model_gets_a_verdict_with_the_reason(
    broken: tuple[store.Run, str], breakage: str
) -> None:
    run, shown = broken
    _, message = BROKEN[breakage]
    assert message in " ".join(shown.split())
    assert message in (run.path / "report.html").read_text()
    (model,) = (one for one in templates.matrix(run) if one.name == breakage)
    assert message in str(model.trouble)
    assert all(cell.findings for arm in model.arms for cell in arm.cells)
    assert chat_cli._different(of_model(run, breakage))  # `templates check` would end with 1


def test_a_tokenizer_without_special_tokens_shows_in_the_ids(
    tmp_path: Path, tiny: dict[str, Path], here: Callable[..., Ended]
) -> None:
    shutil.copytree(tiny["hf"], tmp_path / "model")
    no_special_tokens(tmp_path / "model")
    (tmp_path / "one.yaml").write_text(CONVERSATIONS)
    here(
        tmp_path, "templates", "check", "./model", "-b", "transformers", "--no-harm",
        "--conversations", "one.yaml", "--out", "out",
    )  # fmt: skip
    run = store.read(tmp_path / "out")
    reference = next(r for r in run.records if r.case.backend == "reference")
    assert reference.conditions["vocabulary"]["special"] == {}
    assert [r.status for r in reference.renderings] == ["rendered"]


#: Refused by the command as a user starts it; all others by the same function in this process.
BY_COMMAND = ("conversations: []\n", "- name: a\n", "./nothing", "tiny-chatmll")


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
    tmp_path: Path, here: Callable[..., Ended], text: str, where: str, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    done = (bakeoff if text in BY_COMMAND else here)(
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
    tmp_path: Path, here: Callable[..., Ended], arguments: list[str], message: str
) -> None:
    (tmp_path / "garbage.gguf").write_bytes(b"nonsense" * 100)
    done = (bakeoff if arguments[0] in BY_COMMAND[2:] and len(arguments) == 1 else here)(
        tmp_path, "templates", "check", *arguments
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()
