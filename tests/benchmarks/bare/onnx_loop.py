"""The barest loop on onnxruntime-genai's own API: append the prompt, ask for the next token.

No adapter, no text, no checks. One job as JSON on stdin, stamps and ids as JSON on stdout.
"""

import json
import sys
from time import perf_counter_ns

import onnxruntime_genai as og

job = json.loads(sys.stdin.readline())
og.disable_telemetry_events()
session = {"intra_op_num_threads": job["threads"], "inter_op_num_threads": 1}
config = og.Config(job["path"])
config.clear_providers()
config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
model = og.Model(config)
ends = set(og.Tokenizer(model).eos_token_ids)

samples = []
for prompt in job["prompts"]:
    stamps, ids = [], []
    start = perf_counter_ns()
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + job["output_tokens"], do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(prompt)
    while True:
        generator.generate_next_token()
        token = int(generator.get_next_tokens()[0])
        stamps.append(perf_counter_ns())
        ids.append(token)
        if len(ids) == job["output_tokens"]:
            break
        if token in ends:  # the engine would compute nothing any more
            generator.append_tokens([token])
    samples.append({"submitted_ns": start, "token_ns": stamps, "token_ids": ids})
json.dump(samples, sys.stdout)
