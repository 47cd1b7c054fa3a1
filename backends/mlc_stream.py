"""Tokens of MLC-LLM's AsyncMLCEngine, one by one, for synchronous code.

The engine computes in a thread of its own and hands its results to an event loop. That loop is ours
and runs only while a token is waited for.

`completions.create` shows text, not ids, and no chunk at all for a token that adds no text: half a
character. So the results are read where the engine hands them to its own stream, before it makes
text of them. That place is not part of the documented API; a version that lacks it is refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping, Sequence, Set
from contextlib import suppress
from itertools import count
from typing import Any

from backends import checks
from backends.api import GenerationFailed, Unsupported

_HANDOVER = "_async_request_stream_callback_impl"


class Stream:
    """One engine and its event loop. `usage` is what it said about the last finished request."""

    def __init__(self, engine: Any, threads: Set[threading.Thread]) -> None:
        """`threads` are those that the engine has started."""
        self.engine = engine
        self._threads = threads
        self.usage: Any = None
        if not hasattr(engine.state, _HANDOVER):
            raise Unsupported(
                "this version of MLC-LLM: it hands its results over in another way than the one "
                "that this adapter was made for"
            )
        self._hand_over: Callable[[Sequence[Any]], None] = getattr(engine.state, _HANDOVER)
        self._loop = asyncio.new_event_loop()
        self._results: asyncio.Queue[Any] = asyncio.Queue()
        self._numbers = count()
        self._current = ""
        self._pump: asyncio.Task[None] | None = None
        setattr(engine.state, _HANDOVER, self._overhear)
        self._excepthook = threading.excepthook
        threading.excepthook = self._thread_died

    def tokens(
        self, prompt: Sequence[int], **how: Any
    ) -> Generator[tuple[int, str | None], None, None]:
        """Ids with the engine's JSON about their probabilities (None unless `logprobs` is asked).

        `how` are the arguments of `completions.create`. Closing the iterator aborts the request.
        After the last token the iterator waits for the engine's usage.
        """
        self._current = f"bakeoff-{next(self._numbers)}"
        self._results = asyncio.Queue()
        self.usage = None
        self._pump = self._loop.create_task(self._read(list(prompt), self._current, how))
        try:
            while (result := self._run(self._results.get())) is not None:
                if isinstance(result, BaseException):
                    raise GenerationFailed(f"MLC-LLM: {checks.said(result)}") from result
                said = result.delta_logprob_json_strs or [None] * len(result.delta_token_ids)
                yield from zip(map(int, result.delta_token_ids), said, strict=True)
        finally:
            self._abort()

    def close(self) -> None:
        """End the engine's threads, then the loop that they call. Idempotent."""
        if self._loop.is_closed():
            return
        self._abort()
        self.engine.terminate()
        threading.excepthook = self._excepthook
        delattr(self.engine.state, _HANDOVER)  # a reference cycle would keep the weights
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _run(self, waiting: Any) -> Any:
        return self._loop.run_until_complete(waiting)

    def _abort(self) -> None:
        """Cancelled from inside, the engine's own generators end the request in order."""
        pump, self._pump, self._current = self._pump, None, ""
        if pump is not None:
            pump.cancel()
            with suppress(asyncio.CancelledError):
                self._run(pump)

    async def _read(self, prompt: list[int], name: str, how: Mapping[str, Any]) -> None:
        results = self._results
        try:
            stream = await self.engine.completions.create(
                prompt=prompt,
                stream=True,
                stream_options={"include_usage": True},
                request_id=name,
                **how,
            )
            async for response in stream:
                if response.usage is not None:
                    self.usage = response.usage
        except Exception as error:
            results.put_nowait(error)
        else:
            results.put_nowait(None)

    def _overhear(self, outputs: Sequence[Any]) -> None:
        kept = [_Unpacked(output) for output in outputs]
        for output in kept:
            name, (result, *_) = output.unpack()
            if name == self._current:
                self._results.put_nowait(result)
        self._hand_over(kept)

    def _thread_died(self, args: threading.ExceptHookArgs) -> None:
        """Without this a request would wait for ever for the engine's own threads."""
        self._excepthook(args)
        if args.thread not in self._threads:
            return
        error = args.exc_value or RuntimeError("a thread of the engine ended")
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._results.put_nowait, error)


class _Unpacked:
    """A result that may be unpacked more than once; the engine's own may not."""

    def __init__(self, output: Any) -> None:
        self._fields = output.unpack()

    def unpack(self) -> Any:
        return self._fields
