"""Apple's Foundation Models: every answer of `probe`, against a small fake of the SDK."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backends.api import Artifact, GenerationFailed, LoadOptions, Request, Unavailable
from backends.apple_foundation_models import AppleFoundationModels

ARTIFACT = Artifact("system", "system", "apple-system", Path("/"))


def sdk(monkeypatch: pytest.MonkeyPatch, there: bool, **more: Any) -> None:
    class SystemLanguageModel:
        def is_available(self) -> tuple[bool, Any]:
            why = None if there else SimpleNamespace(name="APPLE_INTELLIGENCE_NOT_ENABLED")
            return there, why

    for name, value in more.items():
        setattr(SystemLanguageModel, name, value)
    fake: Any = ModuleType("apple_fm_sdk")
    fake.SystemLanguageModel = SystemLanguageModel
    monkeypatch.setitem(sys.modules, "apple_fm_sdk", fake)
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("26.1", ("", "", ""), "arm64"))
    monkeypatch.setattr("backends.apple_foundation_models.version", lambda name: "0.2.1")


@pytest.mark.skipif(sys.platform == "darwin", reason="says what other systems are told")
def test_elsewhere_one_line_says_where_it_runs() -> None:
    found = AppleFoundationModels().probe()
    assert found.reason == f"Foundation Models are part of macOS, and this is {sys.platform}"
    assert "macOS 26" in str(found.remedy) and "\n" not in str(found.remedy)


def test_on_a_mac_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setitem(sys.modules, "apple_fm_sdk", None)
    found = AppleFoundationModels().probe()
    assert "not installed" in str(found.reason)
    assert found.remedy == "bakeoff engines install apple-foundation-models"


def test_a_model_that_is_switched_off_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk(monkeypatch, there=False)
    found = AppleFoundationModels().probe()
    assert str(found.reason).endswith("apple intelligence not enabled")
    assert "System Settings" in str(found.remedy) and found.version == "0.2.1"


def test_a_model_that_is_there_is_described_and_still_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant = SimpleNamespace(display_name="AFM 3 Core")
    sdk(monkeypatch, there=True, context_size=4096, variant=variant)
    found = AppleFoundationModels().probe()
    assert not found.available and "token ids" in str(found.reason)
    assert found.build == {"macos": "26.1", "model": "AFM 3 Core, context 4096"}
    with pytest.raises(Unavailable, match="token ids"):
        AppleFoundationModels().load(ARTIFACT, LoadOptions(64, 1))


def test_an_older_sdk_tells_less(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk(monkeypatch, there=True)
    assert AppleFoundationModels().probe().build["model"] == "unnamed, context unknown"


def test_nothing_is_generated_and_closing_does_nothing() -> None:
    backend = AppleFoundationModels()
    backend.close()
    with pytest.raises(GenerationFailed, match="no model is loaded"):
        next(iter(backend.generate(Request((1,), 1))))
