"""A model's own chat template, rendered as transformers renders it: the reference.

The environment is that of transformers' `apply_chat_template`: an immutable sandbox, blocks
trimmed, loop controls, `tojson` without HTML escapes, `raise_exception`, `strftime_now`, and the
`generation` tag, which marks the assistant's text and writes nothing. The sandbox bounds neither
time nor memory: call this in a limited process only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.api import Rejected
from harness.worker.templates import Broken


class _Generation(Extension):
    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Raised(TemplateError):
    """The template itself said no, through raise_exception."""


class _Environment(ImmutableSandboxedEnvironment):
    """Says so where a template reaches for Python's insides; jinja alone writes nothing there."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        kind = type(obj).__name__
        raise SecurityError(f"{attribute!r} of a {kind} is not for templates")


def _raise(message: object) -> None:
    raise _Raised(str(message))


def _tojson(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def render(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    tokens: Mapping[str, str],
    prefill: bool,
    variables: Mapping[str, Any],
) -> str:
    """The prompt for the next assistant message, or up to the end of its beginning with `prefill`.

    `tokens` are `bos_token`, `eos_token` and so on. Raises Broken where the template can't be
    used at all, Rejected where it refuses these messages.
    """
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    try:
        compiled = environment.from_string(source)
    except TemplateSyntaxError as error:
        raise Broken(f"line {error.lineno} of the template: {error.message}") from error
    try:
        text = compiled.render(
            messages=[dict(message) for message in messages],
            add_generation_prompt=not prefill,
            tools=None,
            documents=None,
            **{**tokens, **variables},
        )
    except _Raised as error:
        raise Rejected(f"the template says: {error}") from error
    except SecurityError as error:
        raise Broken(f"the template reaches for what it must not: {error}") from error
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise Rejected(f"{type(error).__name__}: {error}") from error
    return _cut(text, str(messages[-1]["content"])) if prefill else text


def _cut(text: str, beginning: str) -> str:
    """Up to the end of the answer's beginning, without what would close it."""
    at = text.rfind(beginning.strip())
    if at < 0:
        raise Rejected("the template does not write the beginning of the answer as it is")
    whole = beginning.lstrip()
    kept = whole if text.startswith(whole, at) else beginning.strip()
    return text[: at + len(kept)]
