"""Faults in a manifest are told with file, line and field; the shipped one is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import models
from harness.errors import BadInput
from harness.models import manifest

HEAD = "id: m\nname: M\nlicense: mit\ncontext_length: 8\ntokenizer: a\nartifacts:\n"
GOOD = "  a: {format: gguf, precision: f32, source: {path: x.gguf}}\n"


@pytest.mark.parametrize(
    ("artifacts", "line", "message"),
    [
        ("  a: {format: gguf, precision: f32}\n", 7, "expected either `source`, or `from` and `with`"),
        ("  a: {format: gguf, precision: f32, source: {path: x}, sha: a}\n", 7, "unknown field, did you mean 'sha256'?"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {ftp: x}\n", 10, "expected a mapping with one of: pypi, hf, url, path"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {pypi: x, version: 1.0, member: y}\n", 10, "artifacts.a.source.version: input should be a valid string, not 1.0"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {pypi: x, version: '1', member: ../y}\n", 10, "without '..'"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {pypi: x, version: '1', member: /etc/y}\n", 10, "without '..'"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {pypi: --index-url=x, version: '1', member: y}\n", 10, "artifacts.a.source.pypi"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {url: 'file:///etc/passwd'}\n", 10, "expected an http or https address"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {url: 'https://me:pw@h/x'}\n", 10, "must hold no secret"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {hf: o/m}\n", 10, "a GGUF is one file: expected `file`"),
        ("  a:\n    format: hf\n    precision: f32\n    source: {hf: o/m, file: a, files: [b]}\n", 10, "not both"),
        ("  a:\n    format: gguf\n    precision: f32\n    source: {path: x}\n    sha256: abc\n", 11, "artifacts.a.sha256"),
        ("  ../a: {format: gguf, precision: f32, source: {path: x}}\n", 7, "artifacts.../a: is not a name"),
        (GOOD + "  b: {format: hf, precision: f32, from: c, with: dequantize}\n", 8, "unknown artifact 'c'"),
        (GOOD + "  b: {format: hf, precision: f32, from: a, with: dequantise}\n", 8, "did you mean 'dequantize'? (known: dequantize, "),
        (GOOD + "  b: {format: hf, precision: f16, from: a, with: dequantize}\n", 8, "dequantize makes f32, not f16"),
        (GOOD + "  b: {format: onnx, precision: f32, from: a, with: dequantize}\n", 8, "dequantize makes hf, not onnx"),
        (GOOD + "  b: {format: onnx, precision: f32, from: a, with: onnx-builder}\n", 8, "onnx-builder reads hf, not gguf"),
        (GOOD + "  b: {format: gguf, precision: f32, from: a}\n", 8, "`from` and `with` belong together"),
        (GOOD + "  b: {format: gguf, precision: f32, from: c, with: gguf-requantize}\n  c: {format: gguf, precision: f32, from: b, with: gguf-requantize}\n", 8, "is made from itself"),
        (GOOD + "  b:\n    format: gguf\n    precision: f32\n    from: a\n    with: gguf-requantize\n    options: {x: [1]}\n", 13, "expected text, a number, true or false"),
        ("  b: {format: gguf, precision: f32, source: {path: x}}\n", 5, "tokenizer: unknown artifact 'a'"),
        ("  {}\n", 6, "artifacts: "),
    ],
)  # fmt: skip
def test_a_fault_names_file_and_line(
    tmp_path: Path, artifacts: str, line: int, message: str
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + artifacts)
    with pytest.raises(BadInput) as caught:
        manifest.load(path)
    assert f"{path}:{line}: " in str(caught.value)
    assert message in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("id: ../x\nname: 3\nlicence: mit\n")
    with pytest.raises(BadInput) as caught:
        manifest.load(path)
    fields = {problem.field for problem in caught.value.problems}
    assert fields >= {
        "id",
        "name",
        "licence",
        "license",
        "context_length",
        "tokenizer",
        "artifacts",
    }


def test_the_shipped_manifest_is_found_from_anywhere(tmp_path: Path) -> None:
    found = models.find("smollm2-135m-instruct", tmp_path)
    assert {"gguf-q4_1", "hf-f32", "onnx-int4", "ct2-int8"} <= set(found.artifacts)
    assert found.spec(found.tokenizer).format == "hf"


def test_a_manifest_beside_the_scenario_comes_first(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    text = (HEAD + GOOD).replace("id: m", "id: smollm2-135m-instruct")
    (tmp_path / "models" / "smollm2-135m-instruct.yaml").write_text(text)
    found = models.find("smollm2-135m-instruct", tmp_path / "scenario.yaml")
    assert found.name == "M"


def test_a_path_is_relative_to_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(HEAD + GOOD)
    assert (
        models.find("mine.yaml", tmp_path / "scenario.yaml").file
        == (tmp_path / "mine.yaml").resolve()
    )
    assert models.find(str(tmp_path / "mine.yaml"), Path("/")).id == "m"


def test_an_unknown_id_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"smollm: unknown model.*smollm2-135m-instruct"):
        models.find("smollm", tmp_path)
    with pytest.raises(BadInput, match=r"nope\.yaml: no such file"):
        models.find("nope.yaml", tmp_path)


def test_an_id_that_is_not_the_files_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "other.yaml").write_text(HEAD + GOOD)
    with pytest.raises(BadInput, match=r"other\.yaml:1: id: is 'm', but the file is named"):
        models.find("other", tmp_path)


def test_an_unknown_artifact_lists_the_known_ones(tmp_path: Path) -> None:
    found = models.find("smollm2-135m-instruct", tmp_path)
    with pytest.raises(BadInput, match="has no artifact 'gguf-f23', did you mean 'gguf-f32'"):
        models.prepare(found, "gguf-f23")
