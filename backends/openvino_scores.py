"""Logits at every position: the model's graph by itself, since a pipeline shows none.

A pipeline takes all but the last position out of its graph. So the graph is compiled again with the
same properties and evaluated without the pipeline's paging: the same weights and arithmetic, another
kernel for the attention (log-probabilities up to 0.05 nats apart were seen). A GGUF is converted once more for it, by the same reader, into a temporary
folder. Nothing of this happens unless logits are asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.api import GenerationFailed
from backends.openvino_options import MODEL


class Scorer:
    """One compiled graph. `close` frees it."""

    def __init__(self, ov: Any, genai: Any, path: Path, properties: Mapping[str, Any]) -> None:
        self._request: Any = None
        with tempfile.TemporaryDirectory(prefix="bakeoff-openvino-") as scratch:
            folder = path if path.is_dir() else _converted(genai, path, Path(scratch), properties)
            core = ov.Core()
            try:
                model = core.read_model(folder / MODEL)
                compiled = core.compile_model(model, "CPU", dict(properties))
                self._inputs = {port.any_name for port in model.inputs}
                self._request = compiled.create_infer_request()
            except RuntimeError as error:
                raise GenerationFailed(f"OpenVINO makes no graph of its own: {error}") from error

    def logits(self, ids: Sequence[int]) -> Any:
        """float32 (len(ids), vocabulary), from an empty cache."""
        import numpy

        given = {
            "input_ids": numpy.array([ids], dtype=numpy.int64),
            "attention_mask": numpy.ones((1, len(ids)), dtype=numpy.int64),
            "position_ids": numpy.arange(len(ids), dtype=numpy.int64)[None],
            "beam_idx": numpy.zeros(1, dtype=numpy.int32),
        }
        try:
            self._request.reset_state()
            self._request.infer({name: given[name] for name in self._inputs})
            found = self._request.get_tensor("logits").data
        except (RuntimeError, KeyError) as error:
            raise GenerationFailed(f"OpenVINO: {error}") from error
        if found.shape[:2] != (1, len(ids)):
            raise GenerationFailed(f"the graph gives logits of shape {tuple(found.shape)}")
        return found[0].astype(numpy.float32)

    def close(self) -> None:
        self._request = None


def _converted(genai: Any, path: Path, folder: Path, properties: Mapping[str, Any]) -> Path:
    """The GGUF as IR in `folder`: the engine writes it beside the file that it is given."""
    link = folder / path.name
    link.symlink_to(path.resolve())
    told = {**properties, "enable_save_ov_model": True}
    try:
        genai.ContinuousBatchingPipeline(link, genai.SchedulerConfig(), "CPU", told)
    except RuntimeError as error:
        raise GenerationFailed(f"OpenVINO GenAI cannot convert {path.name}: {error}") from error
    return folder
