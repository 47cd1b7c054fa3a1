"""The barest loop on llama.cpp's own API: decode the prompt, sample greedily, decode the token.

No adapter, no text, no checks. One job as JSON on stdin, stamps and ids as JSON on stdout.
"""

import ctypes
import json
import sys
from time import perf_counter_ns

import llama_cpp as lib

job = json.loads(sys.stdin.readline())
quiet = lib.llama_log_callback(lambda level, text, data: None)
lib.llama_log_set(quiet, ctypes.c_void_p(0))
lib.llama_backend_init()

model_params = lib.llama_model_default_params()
model_params.n_gpu_layers = 0
model = lib.llama_model_load_from_file(job["path"].encode(), model_params)
params = lib.llama_context_default_params()
params.n_ctx = params.n_batch = job["context"]
params.n_threads = params.n_threads_batch = job["threads"]
params.offload_kqv = params.op_offload = False
context = lib.llama_init_from_model(model, params)

chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
one = (lib.llama_token * 1)()
step = lib.llama_batch_get_one(one, 1)

samples = []
for prompt in job["prompts"]:
    stamps, ids = [], []
    start = perf_counter_ns()
    lib.llama_memory_clear(lib.llama_get_memory(context), False)
    tokens = (lib.llama_token * len(prompt))(*prompt)
    lib.llama_decode(context, lib.llama_batch_get_one(tokens, len(prompt)))
    while True:
        token = lib.llama_sampler_sample(chain, context, -1)
        stamps.append(perf_counter_ns())
        ids.append(token)
        if len(ids) == job["output_tokens"]:
            break
        one[0] = token
        lib.llama_decode(context, step)
    samples.append({"submitted_ns": start, "token_ns": stamps, "token_ids": ids})
json.dump(samples, sys.stdout)
