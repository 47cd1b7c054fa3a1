"""In a process of its own: transformers' rendering and ids. A job on stdin, the answers on stdout."""

from __future__ import annotations

import json
import sys

from jinja2 import TemplateError
from transformers import AutoTokenizer

job = json.load(sys.stdin)
loaded = {
    folder: AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for folder in {one["folder"] for one in job["templates"].values()}
}
answers = {}
for name, one in job["templates"].items():
    tokenizer = loaded[one["folder"]]
    answers[name] = {}
    for asked in job["asked"]:
        try:
            text = tokenizer.apply_chat_template(
                asked["messages"],
                chat_template=one["source"],
                tokenize=False,
                add_generation_prompt=not asked["prefill"],
                continue_final_message=asked["prefill"],
                **asked["variables"],
            )
        except TemplateError:
            answers[name][asked["name"]] = None
            continue
        ids = tokenizer.encode(text, add_special_tokens=False)
        answers[name][asked["name"]] = [text, ids]
print(json.dumps(answers))
