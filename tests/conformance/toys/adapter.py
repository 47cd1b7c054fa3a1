"""A toy engine: tokens are bytes, and a table says which byte is likely to follow which."""

import codecs
import math
import random
from collections.abc import Mapping

from backends.api import Availability, GenerationFailed, LoadFailed, Token, Unsupported

MAGIC, VOCABULARY = b"TOY1", 256


class Toy:
    name = "toy"
    formats = frozenset({"toy"})
    gaps: Mapping[str, str] = {
        "top_p_honoured": "notimpl: the adapter draws by temperature and top_k only",
        "min_p_honoured": "notimpl: the adapter draws by temperature and top_k only",
        "repetition_penalty_honoured": "never: the engine sees one token back",
        "prefix_reused_on_request": "never: the engine keeps no cache",
    }

    def __init__(self):
        self.rows = None
        self.context = 0

    def probe(self):
        return Availability(version="1.0", build={"kind": "table"}, devices=("cpu",))

    def load(self, artifact, options):
        self.close()
        if options.extra or options.device != "cpu" or options.mmap or options.mlock:
            raise Unsupported(f"options: this engine takes context and threads only: {options}")
        try:
            data = artifact.path.read_bytes()
        except OSError as error:
            raise LoadFailed(artifact.path, str(error.strerror)) from error
        if data[:4] != MAGIC or len(data) != 4 + VOCABULARY**2:
            raise LoadFailed(artifact.path, "no table of the toy engine", "make it anew")
        self.rows = [data[4 + VOCABULARY * i :][:VOCABULARY] for i in range(VOCABULARY)]
        self.context = options.context

    def generate(self, request):
        if self.rows is None:
            raise GenerationFailed("no model is loaded")
        request.check(self.context, VOCABULARY)
        sampling = request.sampling
        if sampling.top_p < 1 or sampling.min_p > 0 or sampling.repetition_penalty != 1:
            raise Unsupported("top_p, min_p and repetition_penalty: only temperature and top_k")
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: there is no cache")
        draw = random.Random(sampling.seed)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        token = request.prompt_ids[-1]
        for left in range(request.max_tokens - 1, -1, -1):
            token = self.pick(self.rows[token], sampling, draw)
            last = left == 0 or (not request.force_length and token in request.stop_ids)
            yield Token(token, decoder.decode(bytes([token]), last))
            if last:
                return

    def pick(self, row, sampling, draw):
        best = sorted(range(VOCABULARY), key=lambda token: -row[token])
        best = best[: sampling.top_k or VOCABULARY]
        if sampling.greedy:
            return best[0]
        weights = [
            math.exp((row[token] - row[best[0]]) / 16 / sampling.temperature) for token in best
        ]
        return draw.choices(best, weights)[0]

    def close(self):
        self.rows = None

    def tokenize(self, text):
        return list(text.encode())

    def detokenize(self, ids):
        return bytes(ids).decode("utf-8", "replace")
