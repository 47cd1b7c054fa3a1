"""The adapter of Core ML, against a fake of coremltools: it predicts on macOS only.

What the fake's model computes is a hash, but it checks shapes, mask and state as a stateful model
needs them. A model built with the real coremltools is described here where there is one.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from backends import coreml_package
from backends.api import (
    Artifact,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Unavailable,
    Unsupported,
)
from backends.conformance_suite import ConformanceSuite
from backends.coreml import CoreML

OPTIONS = LoadOptions(context=256, threads=1, extra={"own_threads": True})
WEIGHTS = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
WORDS, SIZE = 256, 65536


def feature(name: str, *bounds: tuple[int, int]) -> SimpleNamespace:
    ranges = [SimpleNamespace(lowerBound=low, upperBound=high) for low, high in bounds]
    array = SimpleNamespace(
        shape=[low for low, _ in bounds], shapeRange=SimpleNamespace(sizeRanges=ranges)
    )
    return SimpleNamespace(name=name, type=SimpleNamespace(multiArrayType=array))


def described(query: int = 512, end: int = 512, low: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        description=SimpleNamespace(
            input=[
                feature("inputIds", (1, 1), (1, query)),
                feature("causalMask", (1, 1), (1, 1), (1, query), (low, end)),
            ],
            output=[SimpleNamespace(name="logits")],
            state=[SimpleNamespace(name="keyCache"), SimpleNamespace(name="valueCache")],
        )
    )


class Model:
    """A fake of MLModel."""

    spec = described()
    last_only = False
    made: list[Model] = []  # noqa: RUF012

    def __init__(self, path: str, compute_units: str) -> None:
        self.weights = (Path(path).parent / WEIGHTS).read_bytes()
        if len(self.weights) != SIZE:
            raise RuntimeError("Error compiling model: weights do not fit")
        self.units, self.sizes = compute_units, []
        Model.made.append(self)

    def get_spec(self) -> Any:
        return self.spec

    def make_state(self) -> list[int]:
        return []

    def predict(self, given: dict[str, Any], state: list[int]) -> dict[str, Any]:
        ids, mask = given["inputIds"], given["causalMask"]
        assert ids.dtype == numpy.int32 and mask.dtype == numpy.float16
        new, past = ids.shape[1], len(state)
        self.sizes.append(new)
        assert mask.shape == (1, 1, new, past + new), "the mask is not of past and new tokens"
        state.extend(int(i) for i in ids[0])
        rows = []
        for row, visible in enumerate(mask[0, 0] == 0):
            assert list(visible) == [True] * (past + row + 1) + [False] * (new - row - 1)
            start = zlib.crc32(json.dumps(state[: past + row + 1]).encode())
            rows.append([self.weights[(start + 613 * i) % SIZE] / 16 for i in range(WORDS)])
        rows = rows[-1:] if self.last_only else rows
        return {"logits": numpy.array([rows], numpy.float16)}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = ModuleType("coremltools")
    fake.__version__ = "9.0"
    names = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
    fake.ComputeUnit = SimpleNamespace(**{name: name for name in names})
    fake.models = SimpleNamespace(MLModel=Model)
    monkeypatch.setitem(sys.modules, "coremltools", fake)
    monkeypatch.setattr("backends.coreml.sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.4", ("", "", ""), "arm64"))


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def write(path: Path) -> Artifact:
    (path / WEIGHTS).parent.mkdir(parents=True)
    (path / WEIGHTS).write_bytes(numpy.random.default_rng(1).bytes(SIZE))
    config = {"vocab_size": WORDS, "max_position_embeddings": 512, "eos_token_id": 255}
    (path / "config.json").write_text(json.dumps(config))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path / "tokenizer.json"))
    return Artifact("fake", "coreml-f16", "coreml", path)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write(tmp_path / "model")


class TestConformanceOnTheFake(ConformanceSuite):
    backend = CoreML
    options = OPTIONS

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def mac() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            install(patch)
            yield

    @classmethod
    def model(cls) -> Artifact:
        return write(Path(cls._scratch.name) / "model")


@pytest.mark.skipif(sys.platform == "darwin", reason="says what other systems are told")
def test_elsewhere_one_line_says_where_it_runs(artifact: Artifact) -> None:
    found = CoreML().probe()
    assert found.reason == f"Core ML is part of macOS, and this is {sys.platform}"
    assert found.remedy == "on macOS 15 or newer: bakeoff engines install coreml"
    with pytest.raises(Unavailable):
        CoreML().load(artifact, OPTIONS)


def test_an_older_mac_is_told_what_it_lacks(mac: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.mac_ver", lambda: ("14.7", ("", "", ""), "arm64"))
    assert CoreML().probe().reason == "this is macOS 14.7: states need 15"


def test_on_a_mac_without_coremltools_it_says_what_to_install(
    mac: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    assert CoreML().probe().remedy == "bakeoff engines install coreml"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": {}}, "threads: Core ML takes no number"),
        ({"extra": {"own_threads": True, "units": 1}}, "units"),
        ({"device": "ne"}, "is run on cpu"),
        ({"mmap": False}, "mmap"),
        ({"context": 513}, "made for 512"),
    ],
)
def test_options_it_cannot_honour_are_refused(
    mac: None, artifact: Artifact, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unsupported, match=said):
        CoreML().load(artifact, replace(OPTIONS, **change))


def test_the_device_is_a_set_of_compute_units(mac: None, artifact: Artifact) -> None:
    for device, units in (("cpu", "CPU_ONLY"), ("cpu_and_ne", "CPU_AND_NE"), ("all", "ALL")):
        CoreML().load(artifact, replace(OPTIONS, device=device))
        assert Model.made[-1].units == units


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (described(end=128), "1 to 128: expected 1 to 256"),
        (described(low=512), "512 to 512"),
        (
            SimpleNamespace(
                description=SimpleNamespace(input=[feature("input_ids")], output=[], state=[])
            ),
            "it has \\['input_ids'\\]",
        ),
    ],
)
def test_a_model_of_another_interface_is_refused(
    mac: None, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, spec: Any, said: str
) -> None:
    monkeypatch.setattr(Model, "spec", spec)
    backend = CoreML()
    with pytest.raises(LoadFailed, match=said):
        backend.load(artifact, OPTIONS)
    with pytest.raises(GenerationFailed, match="no model is loaded"):
        next(backend.generate(Request((1,), 1)))


def test_a_prompt_goes_in_by_pieces_that_the_model_takes(
    mac: None, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(tuple(range(10, 31)), 5)
    backend = CoreML()
    backend.load(artifact, OPTIONS)
    whole = [token.id for token in backend.generate(request)]
    assert Model.made[-1].sizes == [21, 1, 1, 1, 1]
    monkeypatch.setattr(Model, "spec", described(query=8))
    backend.load(artifact, OPTIONS)
    assert [token.id for token in backend.generate(request)] == whole
    assert Model.made[-1].sizes == [8, 8, 5, 1, 1, 1, 1]


def test_logits_of_the_last_position_only_are_refused(
    mac: None, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "last_only", True)
    backend = CoreML()
    backend.load(artifact, OPTIONS)
    assert len(list(backend.generate(Request((1, 2, 3), 2)))) == 2
    with pytest.raises(Unsupported, match="last position"):
        backend.logits([1, 2, 3])


ROW = numpy.log(numpy.array([0.5, 0.25, 0.15, 0.1], numpy.float32))


DESCRIBE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import coremltools as ct
from coremltools import proto
from backends import coreml_package
from backends.api import LoadFailed

spec = proto.Model_pb2.Model()
int32 = proto.FeatureTypes_pb2.ArrayFeatureType.INT32
float16 = proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16

def array(kind, name, dtype, *bounds):
    one = kind.add()
    one.name = name
    multi = one.type.stateType.arrayType if kind is states else one.type.multiArrayType
    multi.dataType = dtype
    multi.shape.extend(low for low, _ in bounds)
    for low, high in bounds:
        multi.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)

states = spec.description.state
array(spec.description.input, "inputIds", int32, (1, 1), (1, 64))
array(spec.description.input, "causalMask", float16, (1, 1), (1, 1), (1, 64), (1, 128))
array(spec.description.output, "logits", float16)
array(states, "keyCache", float16, (2, 2))
array(states, "valueCache", float16, (2, 2))
told = {"step": coreml_package.step(Path("x"), spec, 128), "units": [u.name for u in ct.ComputeUnit]}
try:
    coreml_package.step(Path("x"), spec, 129)
except LoadFailed as error:
    told["said"] = error.reason
import inspect
told["init"] = list(inspect.signature(ct.models.MLModel.__init__).parameters)
told["predict"] = list(inspect.signature(ct.models.MLModel.predict).parameters)
told["has"] = [hasattr(ct.models.MLModel, n) for n in ("make_state", "get_spec")]
print("SEEN" + json.dumps(told))
"""


@pytest.mark.engine
def test_the_real_coremltools_describes_models_as_the_adapter_reads_them(
    seen_in: Callable[..., Any],
) -> None:
    told = seen_in("coreml", DESCRIBE, Path(__file__).parents[2])
    assert told["step"] == 64 and "1 to 128: expected 1 to 129" in told["said"]
    assert {"CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL"} == set(told["units"])
    assert told["init"][1] == "model" and "compute_units" in told["init"]
    assert told["predict"] == ["self", "data", "state"] and told["has"] == [True, True]


def test_a_package_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"no model\.mlpackage"):
        coreml_package.read(tmp_path)
