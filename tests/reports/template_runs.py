"""A made-up run of chat templates: three models, engines of every kind of fault."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from results.records import Case, Conversation, Record, Rendering, RunInfo, Score, Trial, digest_ids
from results.store import Run

SPECIAL = {
    "<s>": 1, "</s>": 2, "<|im_start|>": 3, "<|im_end|>": 4, "<|eot_id|>": 5,
    "<|start_header_id|>": 6, "<|end_header_id|>": 7, "<|begin_of_text|>": 8,
}  # fmt: skip
PARTS = re.compile("|".join(map(re.escape, SPECIAL)) + r"|[^\W_]+|.", re.DOTALL)
TALKS = (
    Conversation("user", "one user turn", ({"role": "user", "content": "What is the capital of France?"},), answer="Paris."),
    Conversation("system", "a system message, then a user turn", (
        {"role": "system", "content": "You are Rosa, the captain of the ship Blue Heron."},
        {"role": "user", "content": "What is the name of your ship?"},
    ), answer="Blue Heron."),
    Conversation("turns", "three turns", (
        {"role": "user", "content": "My dog is called Biscuit."},
        {"role": "assistant", "content": "That is a lovely name for a dog!"},
        {"role": "user", "content": "What is my dog called?"},
    )),
    Conversation("prefill", "the beginning of the answer is given", (
        {"role": "user", "content": "Which colour is the sky?"},
        {"role": "assistant", "content": "On a clear day, the sky"},
    ), prefill=True),
    Conversation("spaces", "white space around and inside", ({"role": "user", "content": "\n  Count to\u00a0five.\n\n\tUse words.  "},)),
    Conversation("injection", "special tokens written by the user", ({"role": "user", "content": "Translate <|im_end|> and </s> and <|eot_id|>."},)),
    Conversation("two-users", "two user turns in a row", (
        {"role": "user", "content": "I have a question."}, {"role": "user", "content": "What is two plus two?"},
    )),
)  # fmt: skip
ARMS = (
    ("llamacpp", "gguf", {}),
    ("llamacpp", "gguf", {"options": {"chat_call": "native"}}),
    ("onnx", "onnx", {}),
    ("transformers", "hf", {}),
)
BOS = {"tiny-chatml": None, "tiny-llama-3": "<|begin_of_text|>", "tiny-mistral": "<s>"}


def tokens(text, plain=()):
    """(ids, pieces): special tokens, words, characters; the first of each in `plain` stays text."""
    left, pieces = list(plain), []
    for found in PARTS.findall(text):
        if found in left:
            left.remove(found)
            pieces += found
        else:
            pieces.append(found)
    ids = (SPECIAL.get(p) or 100 + sum((n + 1) * ord(c) for n, c in enumerate(p)) for p in pieces)
    return tuple(ids), tuple(pieces)


def reference(model, talk):
    last = talk.messages[-1]["content"]
    roles = [m["role"] for m in talk.messages]
    if model == "tiny-mistral":
        if "system" in roles or roles[:2] == ["user", "user"]:
            return None
        parts = (
            f"[INST] {m['content']} [/INST]" if m["role"] == "user" else f" {m['content']}</s>"
            for m in talk.messages
        )
        text = "<s>" + "".join(parts)
        return text.removesuffix("</s>") if talk.prefill else text
    if model == "tiny-llama-3":
        head, middle, end = "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"
    else:
        head, middle, end = "<|im_start|>", "\n", "<|im_end|>\n"
    turns = (
        f"{head}{m['role']}{middle}"
        f"{m['content'].strip() if model == 'tiny-llama-3' else m['content']}{end}"
        for m in talk.messages
    )
    text = (BOS[model] or "") + "".join(turns)
    return (
        text[: text.rindex(last) + len(last)] if talk.prefill else f"{text}{head}assistant{middle}"
    )


def engine(model, arm, talk):
    """(text, special tokens that stay text, BOS that only the ids have) or None: rejected."""
    text, bos = reference(model, talk), BOS[model]
    backend, _, settings = ARMS[arm]
    if backend == "transformers":
        return text and (text, (), "")
    if backend == "onnx":
        if text and model == "tiny-chatml":
            return text.replace("<|im_end|>\n", "<|im_end|>\n\n"), (), ""
        return text and (text, (), (bos or "") if model == "tiny-mistral" else "")
    if settings:
        return text and (text.removeprefix(bos or ""), (), bos or "")
    if model == "tiny-mistral":
        said = [m["content"] for m in talk.messages if m["role"] == "user"]
        return "".join(f"[INST] {s} [/INST]" for s in said), (), "<s>"
    if model == "tiny-chatml" and talk.messages[0]["role"] != "system":
        text = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + text
    if talk.prefill:
        tail = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        text += tail if model == "tiny-llama-3" else "<|im_end|>\n<|im_start|>assistant\n"
    if model == "tiny-llama-3" and talk.name == "spaces":
        text = text.replace("Count", "\n  Count")
    return text, ("<|eot_id|>",) if talk.name == "injection" else (), ""


def rendering(talk, made):
    if made is None:
        reason = "Conversation roles must alternate user/assistant/user/assistant/..."
        return Rendering(talk.name, "rejected", reason=reason)
    text, plain, extra = made
    ids, pieces = tokens(extra + text, plain)
    return Rendering(talk.name, "rendered", text, ids, pieces)


def records(models=tuple(BOS), talks=TALKS) -> Iterator[Record]:
    for model in models:
        vocabulary = {
            "bos": BOS[model], "eos": None, "special": SPECIAL, "tokenizer": "tokenizers 0.22",
        }  # fmt: skip
        made = [reference(model, talk) for talk in talks]
        ours = tuple(
            rendering(t, text if text is None else (text, (), ""))
            for t, text in zip(talks, made, strict=True)
        )
        yield _record(model, "reference", "hf", {}, ours, conditions={"vocabulary": vocabulary})
        scores = {}
        for arm, (backend, artifact, settings) in enumerate(ARMS):
            theirs = tuple(rendering(talk, engine(model, arm, talk)) for talk in talks)
            yield _record(model, backend, artifact, settings, theirs)
            for talk, one in zip(talks, theirs, strict=True):
                if talk.answer and one.ids:
                    scores[talk.name, digest_ids(one.ids)] = (-1.2 - arm / 7, -0.4)
        for talk, one in zip(talks, ours, strict=True):
            if talk.answer and one.ids:
                scores[talk.name, digest_ids(one.ids)] = (-1.0, -0.4)
        found = tuple(Score(c, prompt, "answer", logs) for (c, prompt), logs in scores.items())
        yield replace(_record(model, "transformers", "hf", {}, (), "harm"), scores=found)


def _record(model, backend, artifact, settings, made, measure="templates", **more):
    case = Case(model, backend, artifact, measure, {}, settings)
    return Record(f"{case.key}-0", case, 0, 1, "ok", "2026-05-04", 1.0, renderings=made, **more)


def make_run(found=None, talks=TALKS):
    found = tuple(records()) if found is None else tuple(found)
    info = RunInfo(
        "templates-1", "0.1.0", "2026-05-04T09:30:00Z", ("bakeoff", "run", "templates"),
        "templates", "Does each engine write the prompt that the model was trained on?",
        "name: templates\n", "c1" * 32, 7, {}, tuple(Trial(r.trial, r.case, 0) for r in found),
        (), (), {"cpu": "AMD EPYC 7B13"}, "3f9ac2017e4b55d0", {}, {}, conversations=talks,
    )  # fmt: skip
    return Run(Path("runs/templates"), info, found, ())
