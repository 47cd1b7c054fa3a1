"""Text that attacks its reader, put wherever a run holds text that is not bakeoff's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any
from zlib import crc32

from results.records import Budget
from results.store import Run

LONG = ("x" * 1_000_000,)
ATTACKS = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title></svg></style><svg onload=alert(1)>",
    "' onmouseover=alert(1) \" autofocus onfocus=alert(1) x=",
    "--><iframe srcdoc='<script>alert(1)</script>'></iframe><!--",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png) http://evil.example @all",
    "<a href='javascript:alert(1)'>click</a><meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "a | b\n# heading `code` **bold** <b>",
    "</pre></td></tr></table></details><form action=http://evil.example><button>go</button></form>",
    "\u202egnp.exe\u2066 zero\u200bwidth \ufeff",
    "\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x00 \x07",
    "lone \udc80 surrogate \ud800",
    "[bold red]rich markup[/] [link=http://evil.example]x[/link]",
    "$\\frac{1}{0}$ _x_ &lt;b&gt; &#60;script&#62;",
    "=cmd|' /C calc'!A0",
    "{{ 7 * 7 }}{% raw %}",
)

#: So many runs, and every place has had so many different attacks.
TURNS = 3

#: What bakeoff itself reads: names of its own that decide what a value is, and digests of ids.
_OURS = frozenset(
    {"measure", "status", "metric", "prompt", "answer", "kind", "how", "method", "way", "order",
     "of", "sampling", "role", "parameters", "check"}
)  # fmt: skip
_OUR_WORDS = frozenset({"reference"})

#: Mappings whose keys come from elsewhere, too.
_FOREIGN_KEYS = frozenset({"host", "environment", "build", "provenance", "tokenizer", "settings"})


def everywhere(run: Run, attacks: Sequence[str], turn: int = 0) -> Run:
    """The run with an attack before every text that an engine, a model, a user or a host gave.

    Which one is drawn by the text itself and `turn`: what belonged together still does.
    """

    def attacked(value: Any, name: str = "") -> Any:
        if name in _OURS or value in ("", *_OUR_WORDS):
            return value
        if isinstance(value, str):
            return f"{attacks[(crc32(value.encode()) + turn) % len(attacks)]} {value}"
        if isinstance(value, Mapping):
            foreign = name in _FOREIGN_KEYS
            return {
                attacked(k) if foreign else k: attacked(v, name if foreign else k)
                for k, v in value.items()
            }
        if isinstance(value, list | tuple):
            return type(value)(attacked(one, name) for one in value)
        if is_dataclass(value) and not isinstance(value, type):
            found = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
            return type(value)(**{k: attacked(v, k) for k, v in found.items()})
        return value

    # A record's samples hold no text but digests.
    records = tuple(
        replace(attacked(replace(r, samples=())), samples=r.samples) for r in run.records
    )
    info = attacked(run.info)
    info = replace(info, budgets=(*info.budgets, Budget(attacked("budget"), max=1)))
    return replace(run, info=info, records=records, caveats=(attacked("caveat"),))
