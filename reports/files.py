"""Files of a report: each is replaced whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path


def write(
    wanted: Iterable[str], files: Mapping[str, str], folder: Path, render: Callable[[str], str]
) -> list[Path]:
    """Write the wanted formats into `folder`, each under its name in `files`; return their paths.

    Raises ValueError for a format that is not in `files` (before anything is written) and OSError
    where the folder cannot be written.
    """
    names = tuple(dict.fromkeys(wanted))
    if unknown := [name for name in names if name not in files]:
        raise ValueError(f"unknown format {unknown[0]!r}, expected one of: {', '.join(files)}")
    return [replace(folder / files[name], render(name)) for name in names]


def replace(path: Path, text: str) -> Path:
    """Newlines stay as they are: a CSV row ends in CRLF on every system. Raises OSError that names `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(text.encode("utf-8"))
        return part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
