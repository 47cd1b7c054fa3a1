"""The barest loop on transformers' own API: forward with a cache, argmax, forward the token.

No adapter, no text, no checks. One job as JSON on stdin, stamps and ids as JSON on stdout.
"""

import inspect
import json
import sys
from time import perf_counter_ns

import torch
import transformers

job = json.loads(sys.stdin.readline())
transformers.logging.disable_progress_bar()
torch.set_num_threads(job["threads"])
torch.set_num_interop_threads(1)
model = transformers.AutoModelForCausalLM.from_pretrained(
    job["path"], dtype="auto", attn_implementation="sdpa", local_files_only=True
).eval()

# transformers 5.24 renamed it.
named = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"

samples = []
with torch.inference_mode():
    for prompt in job["prompts"]:
        stamps, ids = [], []
        start = perf_counter_ns()
        cache = transformers.DynamicCache(config=model.config)
        step = torch.tensor([prompt])
        while True:
            logits = model(
                input_ids=step, use_cache=True, logits_to_keep=1, **{named: cache}
            ).logits
            token = int(logits[0, -1].argmax())
            stamps.append(perf_counter_ns())
            ids.append(token)
            if len(ids) == job["output_tokens"]:
                break
            step = torch.tensor([[token]])
        samples.append({"submitted_ns": start, "token_ns": stamps, "token_ids": ids})
json.dump(samples, sys.stdout)
