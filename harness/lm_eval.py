"""lm-eval on a loaded engine: `BakeoffLM` is its model, `python -m harness.lm_eval` the child process.

Needs lm-eval (the extra `lm-eval`), so only the child imports this module.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import TemplateLM

from backends.api import Artifact, LoadOptions, Request, Sampling, Scores, Tokenizes, Unsupported

MAX_TOKENS = 256
"""What lm-eval's own `hf` model generates at most where a task does not say."""


class BakeoffLM(TemplateLM):  # type: ignore[misc]
    """A loaded adapter as lm-eval's model.

    Pairs are encoded as lm-eval's `hf` model does: context and continuation together, then split.
    `context` is the one in the LoadOptions; longer inputs lose their beginning, as with `hf`.
    `prefix` is the id that stands for an empty context (BOS, or EOS without one).
    """

    def __init__(self, backend: Any, context: int, prefix: int | None = None) -> None:
        super().__init__()
        if not isinstance(backend, Tokenizes):
            raise Unsupported("the engine has no tokenizer that can be asked")
        self.adapter: Any = backend
        self.max_length = context
        self.prefix = prefix
        self._added = len(backend.tokenize(""))

    @property
    def eot_token_id(self) -> int:
        if self.prefix is None:
            raise Unsupported("a task has an empty context, and no prefix token was given")
        return self.prefix

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        ids: list[int] = self.adapter.tokenize(string)
        return ids[self._added :] if add_special_tokens is False else ids

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        return [self._score(context, continuation) for _, context, continuation in requests]

    def _score(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
        import numpy

        if not isinstance(self.adapter, Scores):
            raise Unsupported("the engine gives no logits")
        count = len(continuation)
        if not 0 < count <= self.max_length:
            raise Unsupported(f"a continuation of {count} tokens in a context of {self.max_length}")
        # The last token is never an input: nothing is asked after it.
        ids = [*context, *continuation][-(self.max_length + 1) :][:-1]
        rows = self.adapter.logits(ids)[-count:].astype(numpy.float64)
        chosen = rows[numpy.arange(count), numpy.asarray(continuation)]
        peak = rows.max(axis=1)
        normal = numpy.log(numpy.exp(rows - peak[:, None]).sum(axis=1)) + peak
        greedy = bool((rows.argmax(axis=1) == numpy.asarray(continuation)).all())
        return float((chosen - normal).sum()), greedy

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        found = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            pairs = map(make_disjoint_window, windows)
            found.append(sum(self._score(context, rest)[0] for context, rest in pairs))
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, asked: Mapping[str, Any]) -> str:
        until = asked.get("until") or ()
        stops = [until] if isinstance(until, str) else [str(stop) for stop in until]
        stops = [stop for stop in stops if stop]
        limit = int(asked.get("max_gen_toks", MAX_TOKENS))
        if limit >= self.max_length:
            raise Unsupported(f"{limit} new tokens do not fit a context of {self.max_length}")
        sampled = asked.get("do_sample") is True
        temperature = float(asked.get("temperature", 1.0)) if sampled else 0.0
        request = Request(
            prompt_ids=tuple(self.tok_encode(context)[-(self.max_length - limit) :]),
            max_tokens=limit,
            force_length=False,
            sampling=Sampling(temperature=temperature, top_p=float(asked.get("top_p", 1.0)))
            if temperature
            else Sampling(),
        )
        text: str = ""
        for token in self.adapter.generate(request):
            text += token.text
            ends = [at for stop in stops if (at := text.find(stop)) >= 0]
            if ends:
                return text[: min(ends)]
        return text


def evaluate(job: Mapping[str, Any]) -> dict[str, Any]:
    """Results and samples of lm-eval, as plain data. `model` in the job is `hf` for lm-eval's own."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=job["tasks_dir"], include_defaults=False)
    asked = {
        "tasks": list(job["tasks"]),
        "task_manager": manager,
        "limit": job.get("limit"),
        "bootstrap_iters": 0,
        "num_fewshot": job.get("fewshot"),
    }
    if "hf" in job:
        results = simple_evaluate("hf", model_args=job["hf"], batch_size=1, device="cpu", **asked)
    else:
        module, _, name = job["reference"].partition(":")
        backend = getattr(importlib.import_module(module), name)()
        given = job["artifact"]
        backend.load(
            Artifact(given["model"], given["name"], given["format"], Path(given["path"])),
            LoadOptions(context=job["context"], threads=job["threads"]),
        )
        try:
            model = BakeoffLM(backend, job["context"], job.get("prefix"))
            results = simple_evaluate(model, **asked)
        finally:
            backend.close()
    return {
        "results": results["results"],
        "samples": {
            task: [[one["doc_id"], one["target"], one["filtered_resps"]] for one in samples]
            for task, samples in results["samples"].items()
        },
    }


def main() -> None:
    """A job as a JSON file in, results as another out: what libraries print goes to the log."""
    job, answer = (Path(argument) for argument in sys.argv[1:3])
    found = evaluate(json.loads(job.read_text(encoding="utf-8")))
    answer.write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
