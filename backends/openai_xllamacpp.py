"""llama-server as the `xllamacpp` wheel holds it: without a command line of its own.

Run by path under the interpreter that has xllamacpp, never imported:
`python openai_xllamacpp.py --model FILE --port N --context N --threads N`.
"""

from __future__ import annotations

import argparse
import importlib
import signal


def main() -> None:
    """Serve until a signal comes. One slot: the whole context is for one request."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    for name in ("--port", "--context", "--threads"):
        parser.add_argument(name, type=int, required=True)
    told = parser.parse_args()
    engine = importlib.import_module("xllamacpp")
    params = engine.CommonParams()
    params.model.path = told.model
    params.hostnames, params.port = ["127.0.0.1"], told.port
    params.n_ctx, params.n_parallel = told.context, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = told.threads
    # Prompts that were evaluated before are not to be kept anywhere.
    params.cache_ram_mib, params.n_ctx_checkpoints = 0, 0
    server = engine.Server(params)
    print(f"{server.listening_address} xllamacpp {engine.__version__}", flush=True)  # noqa: T201
    signal.pause()


if __name__ == "__main__":
    main()
