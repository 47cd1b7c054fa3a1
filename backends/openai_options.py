"""The options of a server in a scenario: plain scalars, checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends import checks
from backends.api import LoadOptions, Unsupported
from backends.openai_presets import PRESETS, Preset

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "server": str, "command": str, "url": str, "pid": int, "port": int, "model": str,
    "api_key_env": str, "end_ids": (str, int), "text_prompt": bool, "prefix_reuse": bool,
    "start_timeout_s": (int, float), "stall_timeout_s": (int, float),
    "request_timeout_s": (int, float),
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What a scenario says about a server. Either `command` or `url` is set.

    `text_prompt` and `prefix_reuse` accept openly what a server can't do better: a prompt sent as
    text, and prefixes that it keeps.
    """

    preset: Preset
    command: str | None
    url: str | None
    pid: int | None
    port: int | None
    model: str
    key_name: str | None
    key: str = field(repr=False)
    end_ids: tuple[int, ...]
    text_prompt: bool
    prefix_reuse: bool
    start_timeout_s: float
    stall_timeout_s: float
    request_timeout_s: float


def read(options: LoadOptions) -> Settings:
    """Raises Unsupported for what is unknown, of the wrong kind, or cannot be passed on."""
    given = dict(options.extra)
    unknown = sorted(set(given) - set(_KINDS))
    if unknown:
        raise Unsupported(f"unknown options: {unknown}", f"known: {', '.join(_KINDS)}")
    for name, value in given.items():
        kind = _KINDS[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Unsupported(f"the option {name} is {value!r}: another kind of value is expected")
    name = str(given.get("server", "generic"))
    if name not in PRESETS:
        raise Unsupported(f"unknown server {name!r}", f"known: {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if not preset.ids_in and preset.tokenizer is None:
        raise Unsupported(
            f"the server {name} takes no token ids as a prompt, and shows no tokenizer to make a "
            "text of them: it can't be given the same work as other engines"
        )
    url = _text(given, "url")
    command = _text(given, "command") or (None if url else preset.command)
    _check(options, given, command, url)
    key_name = _text(given, "api_key_env")
    return Settings(
        preset=preset,
        command=command,
        url=url,
        pid=_whole(given, "pid"),
        port=_whole(given, "port", 65_535),
        model=str(given.get("model", "")),
        key_name=key_name,
        key="" if key_name is None else checks.key(key_name),
        end_ids=checks.ids("end_ids", str(given.get("end_ids", ""))),
        text_prompt=given.get("text_prompt") is True,
        prefix_reuse=given.get("prefix_reuse") is True,
        start_timeout_s=_seconds(given, "start_timeout_s", 120.0),
        stall_timeout_s=_seconds(given, "stall_timeout_s", 60.0),
        request_timeout_s=_seconds(given, "request_timeout_s", 240.0),
    )


def _check(
    options: LoadOptions, given: Mapping[str, object], command: str | None, url: str | None
) -> None:
    if command is None and url is None:
        raise Unsupported(
            "no server is named",
            "options: {server: llama-server}, or command: a command line with {model} {port} "
            "{context} {threads}, or url: of one that runs",
        )
    if url is not None and "command" in given:
        raise Unsupported("the options url and command exclude each other")
    if url is not None and "port" in given:
        raise Unsupported("the option port is for a server that is started: url holds its own")
    if url is None and "pid" in given:
        raise Unsupported("the option pid is for a server that runs already: give its url")
    if options.mmap is not None or options.mlock is not None:
        raise Unsupported("mmap and mlock cannot be told to a server: put them into its command")
    if options.device != "cpu" and "{device}" not in (command or ""):
        raise Unsupported(f"the device {options.device} cannot be told to this server")


def _text(given: Mapping[str, object], name: str) -> str | None:
    return str(given[name]) if name in given else None


def _whole(given: Mapping[str, object], name: str, most: int = 2**22) -> int | None:
    value = given.get(name)
    if value is not None and (not isinstance(value, int) or not 0 < value <= most):
        raise Unsupported(f"the option {name} is {value!r}: expected 1 to {most}")
    return value


def _seconds(given: Mapping[str, object], name: str, default: float) -> float:
    value = given.get(name, default)
    if not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise Unsupported(f"the option {name} is {value!r}: expected seconds above 0")
    return float(value)
