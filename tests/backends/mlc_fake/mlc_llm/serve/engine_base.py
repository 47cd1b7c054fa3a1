"""A fake. See `mlc_fake`."""

from __future__ import annotations

from typing import Any


def process_chat_completion_request(
    request: Any,
    request_id: str,
    engine_state: Any,
    model_config: dict[str, Any],
    f_tokenize: Any,
    max_input_sequence_length: int,
    conv_template: Any,
) -> tuple[list[list[int]], object, bool, int]:
    text = "".join(f"<{one.role}>{one.content}\n" for one in request.messages) + "<assistant>"
    prompt = f_tokenize(text)
    if conv_template.system_prefix_token_ids is not None:
        prompt = conv_template.system_prefix_token_ids + prompt
    return [prompt], object(), False, len(prompt)
