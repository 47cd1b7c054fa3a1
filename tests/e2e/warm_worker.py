"""Workers that need not import transformers: forked from one process that has done it.

As a script this is that process: `python warm_worker.py SOCKET`. `ask` is what stands in for the
interpreter of a worker: it hands its command line, environment and files over, and ends as the
forked worker ends. Every trial still has a process of its own.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path


def ask(address: str) -> None:
    """In the place of `python WORKER FD`."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        job = {"arguments": sys.argv[1:], "environment": dict(os.environ)}
        socket.send_fds(server, [json.dumps(job).encode()], [0, 1, 2, int(sys.argv[2])])
        code = int(server.recv(16) or b"1")
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(address: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    del AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # they are imported late: now
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass  # a keeper that has ended
            with client:
                if os.fork() == 0:
                    _keep(client)


def _keep(client: socket.socket) -> None:
    """Fork the worker and tell the client how it ended."""
    data, files, _, _ = socket.recv_fds(client, 1 << 20, 4)
    pid = os.fork()
    if pid == 0:
        _work(json.loads(data), files)
    for file in files:
        os.close(file)
    _, status = os.waitpid(pid, 0)
    client.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _work(job: dict[str, dict[str, str]], files: list[int]) -> None:
    os.setsid()  # the worker ends its group when bakeoff has gone
    for own, file in enumerate(files[:3]):
        os.dup2(file, own)
    os.environ.clear()
    os.environ.update(job["environment"])
    worker = job["arguments"][0]
    sys.argv = [worker, str(files[3])]
    sys.path.insert(0, str(Path(worker).parent))  # as Python does; the worker takes it away
    code = 1
    try:
        runpy.run_path(worker, run_name="__main__")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
