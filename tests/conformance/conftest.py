"""The toys are imported as a package of their own, as a third party's adapter would be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toys.model import table

    path = tmp_path_factory.mktemp("toy") / "table.toy"
    path.write_bytes(table())
    return path
