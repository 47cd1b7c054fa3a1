"""Start of a worker: `python __main__.py RESULTS_FD`, with one job as a JSON line on stdin.

Run by path, perhaps under an interpreter that has none of bakeoff's dependencies, and must not
see them by accident: only the packages named in the job are made importable, nothing beside them.
"""

# ruff: noqa: E402
import time

STARTED_NS = time.perf_counter_ns()

import json
import sys
from importlib.machinery import ModuleSpec, PathFinder


class _Packages:
    """Import the named top-level packages from the folder given for each, and nothing else."""

    def __init__(self, folders: dict[str, str]) -> None:
        self.folders = folders

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if path is None and name in self.folders:
            return PathFinder.find_spec(name, [self.folders[name]])
        return None


if __name__ == "__main__":
    del sys.path[0]  # this script's own folder
    job = json.loads(sys.stdin.buffer.readline())
    sys.meta_path.insert(0, _Packages(job["packages"]))
    from harness.worker.main import main

    main(job, int(sys.argv[1]), STARTED_NS)
