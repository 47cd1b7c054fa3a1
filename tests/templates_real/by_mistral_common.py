"""In a process of its own: mistral-common's prompts. The folder it is in comes as the argument."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from pydantic import ValidationError

job = json.load(sys.stdin)
data = Path(sys.argv[1]) / "mistral_common" / "data"
answers = {}
for name in job["vocabularies"]:
    tokenizer = MistralTokenizer.from_file(str(data / name))
    answers[name] = {}
    for asked in job["asked"]:
        messages = [dict(message) for message in asked["messages"]]
        if asked["prefill"]:
            messages[-1]["prefix"] = True
        try:
            request = ChatCompletionRequest.model_validate({"messages": messages})
            found = tokenizer.encode_chat_completion(request)
        except (MistralCommonException, ValidationError):
            answers[name][asked["name"]] = None
        else:
            answers[name][asked["name"]] = [found.text, found.tokens]
print(json.dumps(answers))
