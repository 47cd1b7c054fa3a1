"""The reference renders as transformers does, and says what is wrong with a template."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from backends.api import Artifact, LoadFailed, LoadOptions, Rejected
from harness.chat import conversations, template
from harness.chat.reference import TemplateReference
from harness.worker.templates import Broken

CHAT = [{"role": "user", "content": "a<b"}, {"role": "assistant", "content": " yes "}]
TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"


def render(source: str, *, prefill: bool = False, **variables: object) -> str:
    return template.render(
        source, CHAT, tokens={"bos_token": "<s>"}, prefill=prefill, variables=variables
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (TURNS, "<user>a<b</><assistant> yes </>"),
        ("{{ bos_token }}{{ messages | length }}", "<s>2"),
        ("{% if add_generation_prompt %}go{% endif %}", "go"),
        ("  {% if true %}\nx\n  {% endif %}\n", "x\n"),
        ("{% for m in messages %}{{ loop.index }}{% break %}{% endfor %}", "1"),
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"b": "<é>", "a": 1}'),
        ("{{ [1] | tojson(indent=1) }}", "[\n 1\n]"),
        ("{% generation %}kept{% endgeneration %}", "kept"),
        ("{{ tools is none }}{{ documents is none }}", "TrueTrue"),
        ("{{ date_string if date_string is defined else 'no' }}", "no"),
    ],
)
def test_it_renders_as_transformers_does(source: str, text: str) -> None:
    assert render(source) == text


def test_variables_reach_the_template() -> None:
    assert render("{{ date_string }}", date_string="26 Jul 2024") == "26 Jul 2024"
    assert render("{{ strftime_now('%Y') }}") == str(datetime.now().year)


def test_a_prefill_ends_with_the_answers_beginning() -> None:
    assert render(TURNS + "{% if add_generation_prompt %}go{% endif %}", prefill=True) == (
        "<user>a<b</><assistant> yes "
    )
    trimmed = TURNS.replace("m.content", "m.content | trim")
    assert render(trimmed, prefill=True).endswith("<assistant>yes")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("{{ raise_exception('no system') }}", Rejected, "the template says: no system"),
        ("{{ messages[0].content + 1 }}", Rejected, "TypeError"),
        ("{{ nothing.at.all }}", Rejected, "UndefinedError"),
        ("{% for %}", Broken, "line 1 of the template"),
        ("{{ ''.__class__ }}", Broken, "reaches for what it must not"),
        ("{{ messages.append(1) }}", Broken, "reaches for what it must not"),
    ],
)
def test_what_is_wrong_is_told(source: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as found:
        render(source)
    assert isinstance(found.value, Broken) == (error is Broken)


def folder(tmp_path: Path, **config: object) -> Path:
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": 2, "content": "<s>", "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        ],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "truncation": None, "padding": None,
        "model": {"type": "WordLevel", "vocab": {"a": 0, "?": 1, "<s>": 2}, "unk_token": "?"},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def load(path: Path) -> TemplateReference:
    reference = TemplateReference()
    reference.load(Artifact("m", "hf", "hf", path), LoadOptions(context=8, threads=1))
    return reference


def test_special_tokens_become_one_id_and_have_their_own_spelling(tmp_path: Path) -> None:
    path = folder(tmp_path, chat_template="{{ bos_token }}", bos_token={"content": "<s>"})
    reference = load(path)
    found = reference.render([{"role": "user", "content": "a"}])
    assert (found.text, found.ids, found.pieces) == ("<s>", (2,), ("<s>",))
    assert reference.vocabulary()["special"] == {"<s>": 2}
    assert reference.vocabulary()["bos"] == "<s>"


def test_the_template_file_wins_and_a_list_means_its_default(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "d"}]
    path = folder(tmp_path, chat_template=named)
    assert load(path).render([{"role": "user", "content": "a"}]).text == "d"
    (path / "chat_template.jinja").write_text("f")
    assert load(path).render([{"role": "user", "content": "a"}]).text == "f"


def test_no_template_is_broken_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="no chat template"):
        load(folder(tmp_path)).render([{"role": "user", "content": "a"}])
    with pytest.raises(LoadFailed, match="chat_template is not text"):
        load(folder(tmp_path, chat_template=3))


def test_the_shipped_conversations_ask_what_they_should() -> None:
    found = {one.name: one for one in conversations.find("standard", Path.cwd())}
    assert found["prefill"].prefill
    assert found["date"].variables == {"date_string": "26 Jul 2024"}
    assert "\u00a0" in found["unicode"].messages[0]["content"]
    answered = [one for one in found.values() if one.answer]
    assert len(answered) >= 6
    assert any(m["role"] == "system" for one in answered for m in one.messages)
    assert conversations.digest(list(found.values())) != conversations.digest(answered)
