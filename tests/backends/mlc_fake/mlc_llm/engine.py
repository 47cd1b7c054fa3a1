"""A fake of AsyncMLCEngine: computes in a thread of its own, streams into an event loop.

See `mlc_fake` for what it is strict about.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import model
from .tokenizers import TextStreamer, Tokenizer

STEP_S = 0.001
made: list[int] = []  # ids computed, by all engines: tells whether a closed request goes on
threads: list[str | None] = []


class WouldHang(BaseException):
    """The real engine would wait for ever here."""


class RequestStreamOutput:
    def __init__(self, request_id: str, output: Any) -> None:
        self._fields, self._unpacked = (request_id, [output]), False

    def unpack(self) -> tuple[str, list[Any]]:
        assert not self._unpacked, "One RequestStreamOutput can be unpacked for at most once."
        self._unpacked = True
        return self._fields


class EngineState:
    def __init__(self) -> None:
        self.async_event_loop: asyncio.AbstractEventLoop | None = None
        self.async_streamers: dict[str, tuple[asyncio.Queue[Any], TextStreamer]] = {}

    def callback(self, outputs: list[RequestStreamOutput]) -> None:
        assert self.async_event_loop is not None
        self.async_event_loop.call_soon_threadsafe(
            self._async_request_stream_callback_impl, outputs
        )

    def _async_request_stream_callback_impl(self, outputs: list[RequestStreamOutput]) -> None:
        for output in outputs:
            request_id, (one,) = output.unpack()
            if request_id not in self.async_streamers:
                continue
            stream, text = self.async_streamers[request_id]
            delta = text.put(one.delta_token_ids) if one.delta_token_ids else ""
            if one.finish_reason is not None:
                delta += text.finish()
            stream.put_nowait((delta, one))
            if one.request_final_usage_json_str is not None:
                del self.async_streamers[request_id]


class Completions:
    def __init__(self, engine: AsyncMLCEngine) -> None:
        self._engine = engine

    async def create(self, *, prompt: list[int], **how: Any) -> AsyncIterator[Any]:
        assert how["stream"] and how["stream_options"] == {"include_usage": True}
        allowed = {
            "stream", "stream_options", "request_id", "max_tokens", "temperature", "top_p", "seed",
            "frequency_penalty", "presence_penalty", "n", "logprobs", "extra_body",
        }  # fmt: skip
        assert set(how) <= allowed, f"unexpected keyword arguments {set(how) - allowed}"
        if len(prompt) > self._engine.max_input_sequence_length:
            raise ValueError("Request prompt is larger than the model input length limit")
        return self._engine._generate(prompt, how)


class AsyncMLCEngine:
    def __init__(
        self, model_path: str, device: Any, *, model_lib: str, mode: str, engine_config: Any
    ) -> None:
        assert not isinstance(device, str) and device.exist
        assert engine_config.mode == mode and not engine_config.verbose
        assert engine_config.prefix_cache_mode == "disable"
        self.model = model.Model(Path(model_path))
        if self.model.broken:
            raise WouldHang("a reload that fails in the engine's thread is waited for")
        threads.append(model.threads())
        self.engine_config = engine_config
        self.max_input_sequence_length = engine_config.max_single_sequence_length
        self.model_config_dicts = [self.model.config]
        self.tokenizer = Tokenizer()
        self.conv_template = SimpleNamespace(system_prefix_token_ids=[model.END])
        self.conv_template.model_copy = lambda deep: self.conv_template
        self.state = EngineState()
        self.completions = Completions(self)
        self._asked: queue.Queue[Any] = queue.Queue()
        self._aborted: set[str] = set()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def terminate(self) -> None:
        self._asked.put(None)
        self._thread.join()

    async def _generate(self, prompt: list[int], how: dict[str, Any]) -> AsyncIterator[Any]:
        name = how["request_id"]
        self.state.async_event_loop = asyncio.get_running_loop()
        stream: asyncio.Queue[Any] = asyncio.Queue()
        self.state.async_streamers[name] = stream, TextStreamer(self.tokenizer)
        self._asked.put((prompt, how))
        try:
            while True:
                text, one = await stream.get()
                if one.request_final_usage_json_str is not None:
                    usage = SimpleNamespace(**json.loads(one.request_final_usage_json_str))
                    yield SimpleNamespace(choices=[], usage=usage)
                    return
                if text or one.finish_reason is not None:
                    yield SimpleNamespace(choices=[SimpleNamespace(text=text)], usage=None)
        except BaseException:
            self.state.async_streamers.pop(name, None)
            self._aborted.add(name)
            raise

    def _loop(self) -> None:
        while (asked := self._asked.get()) is not None:
            self._compute(*asked)

    def _compute(self, prompt: list[int], how: dict[str, Any]) -> None:
        if len(prompt) + 8 > self.engine_config.max_total_sequence_length:
            raise WouldHang("a request without room to spare is never admitted")
        if prompt[0] == model.POISON:
            raise RuntimeError("Check failed: the fake was told to break")
        assert how["extra_body"] == {"debug_config": {"ignore_eos": True}}
        sampler = model.Sampler(self.model, how)
        ids, began = list(prompt), time.perf_counter()
        first = began
        for number in range(how["max_tokens"]):
            time.sleep(STEP_S)
            if how["request_id"] in self._aborted:
                return
            token, said = sampler(ids)
            ids.append(token)
            made.append(token)
            first = time.perf_counter() if number == 0 else first
            last = number == how["max_tokens"] - 1
            self._send(how, [token], said, "length" if last else None, None)
        took = time.perf_counter() - began
        decoded = how["max_tokens"] - 1
        extra = {
            "prompt_tokens": len(prompt),
            "completion_tokens": how["max_tokens"],
            "prefill_tokens": len(prompt),
            "decode_tokens": decoded,
            "prefill_tokens_per_s": len(prompt) / (first - began),
            "end_to_end_latency_s": took,
            "ttft_s": first - began,
            "inter_token_latency_s": took / how["max_tokens"],
        }
        if decoded:
            extra["decode_tokens_per_s"] = decoded / (took - (first - began))
        usage = {"prompt_tokens": len(prompt), "completion_tokens": how["max_tokens"]}
        usage |= {"total_tokens": len(ids)}
        time.sleep(STEP_S)
        self._send(how, [], None, None, json.dumps({**usage, "extra": extra}))

    def _send(
        self,
        how: dict[str, Any],
        ids: list[int],
        said: str | None,
        reason: str | None,
        usage: str | None,
    ) -> None:
        output = SimpleNamespace(
            delta_token_ids=ids,
            delta_logprob_json_strs=[said] if how.get("logprobs") is not None and ids else None,
            finish_reason=reason,
            request_final_usage_json_str=usage,
            extra_prefix_string="",
        )
        self.state.callback([RequestStreamOutput(how["request_id"], output)])
