"""What the fake engine of tests/plugin does, barely: for the test of the benchmark itself."""

import hashlib
import json
import sys
import time
from pathlib import Path
from time import perf_counter_ns

job = json.loads(sys.stdin.readline())
weights = Path(job["path"]).read_bytes()
samples = []
for prompt in job["prompts"]:
    stamps, ids = [], []
    start = perf_counter_ns()
    for index in range(job["output_tokens"]):
        time.sleep(job["delay_s"])
        ids.append(hashlib.sha256(f"{prompt}{index}".encode() + weights).digest()[0])
        stamps.append(perf_counter_ns())
    samples.append({"submitted_ns": start, "token_ns": stamps, "token_ids": ids})
json.dump(samples, sys.stdout)
