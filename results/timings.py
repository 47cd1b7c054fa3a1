"""What the requests of one trial took: one value per request, NaN where it has none.

A time needs a clock that moved, and a time per token needs two of them.
"""

from __future__ import annotations

import numpy as np

from results.samples import Floats, Ints, Samples


def ttft_ms(samples: Samples) -> Floats:
    """First token - submit, in ms."""
    return _moved(samples.first_ns - samples.submitted_ns) / 1e6


def tpot_ms(samples: Samples) -> Floats:
    """Mean time per token after the first, in ms."""
    elapsed = _moved(samples.last_ns - samples.first_ns)
    # No two tokens, no time between them: elapsed is NaN there, and 1 keeps the division quiet.
    return elapsed / np.maximum(samples.tokens - 1, 1) / 1e6


def decode_tok_s(samples: Samples) -> Floats:
    """Tokens per second after the first."""
    return 1e3 / tpot_ms(samples)


def prefill_tok_s(samples: Samples) -> Floats:
    """Prompt tokens per second until the first token came out."""
    return samples.prompt_tokens / ttft_ms(samples) * 1e3


def e2e_ms(samples: Samples) -> Floats:
    """Done - submit, in ms."""
    return _moved(samples.done_ns - samples.submitted_ns) / 1e6


def _moved(elapsed_ns: Ints) -> Floats:
    return np.where(elapsed_ns > 0, elapsed_ns, np.nan)
