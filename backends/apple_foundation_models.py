"""Apple Foundation Models through apple-fm-sdk: the language model of macOS 26 itself.

It can be asked whether it is there; it can't take part. Its API is text in and text out, through a
chat of its own: no token ids go in or come out, the answer's length can be limited but not forced,
and there is one model, whose weights no other engine has. What bakeoff compares is the same work on
the same weights. docs/backends/apple-foundation-models.md says what would have to change.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from typing import Any

from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadOptions,
    Request,
    Token,
    Unavailable,
)

REMEDY = "bakeoff engines install apple-foundation-models"
ON_A_MAC = f"on macOS 26 with Xcode: {REMEDY}"
TEXT_ONLY = (
    "Apple's Foundation Models take text and give text: without token ids and a forced length they "
    "can't be given the same work as other engines"
)
INSTEAD = "compare models that Core ML (coreml) or MLX (mlx) runs on this machine"


class AppleFoundationModels:
    """Says what is there, and why it can't be measured."""

    name = "apple-foundation-models"
    formats = frozenset({"apple-system"})

    def probe(self) -> Availability:
        """Asks the system for its model. Even where it is there, the answer is a reason."""
        try:
            sdk = _import()
            model = sdk.SystemLanguageModel()
            there, why = model.is_available()
            build = {"macos": platform.mac_ver()[0], "model": _model(model)}
            if not there:
                named = getattr(why, "name", str(why)).lower().replace("_", " ")
                return Availability(
                    version("apple-fm-sdk"),
                    "apple-fm-sdk",
                    build,
                    reason=f"the system's model is not available: {named}",
                    remedy="turn on Apple Intelligence in System Settings",
                )
            return Availability(
                version("apple-fm-sdk"), "apple-fm-sdk", build, reason=TEXT_ONLY, remedy=INSTEAD
            )
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"apple-fm-sdk is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Raises Unavailable, with the reason that `probe` gives."""
        found = self.probe()
        raise Unavailable(found.reason or TEXT_ONLY, found.remedy)

    def generate(self, request: Request) -> Iterator[Token]:
        """Raises GenerationFailed: nothing can be loaded."""
        raise GenerationFailed("no model is loaded")

    def close(self) -> None:
        """Nothing is held."""


def _import() -> Any:
    if sys.platform != "darwin":
        reason = f"Foundation Models are part of macOS, and this is {sys.platform}"
        raise Unavailable(reason, ON_A_MAC)
    try:
        return import_module("apple_fm_sdk")
    except ImportError as error:
        raise Unavailable(f"apple-fm-sdk is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"apple-fm-sdk does not load: {error}", ON_A_MAC) from error


def _model(model: Any) -> str:
    """Its variant and context, in SDKs that tell."""
    variant = getattr(getattr(model, "variant", None), "display_name", "unnamed")
    context = getattr(model, "context_size", "unknown")
    return f"{variant}, context {context}"
