"""The toy engine's model: a table that makes ASCII of ASCII, and goes round in 漢字😀."""

import random

CYCLE = "漢字😀".encode()


def table() -> bytes:
    """256 rows of 256 different likelihoods."""
    draw = random.Random(7)
    rows = []
    for token in range(256):
        order = list(range(256))
        draw.shuffle(order)
        order.sort(key=lambda following: following >= 127 or following < 32)
        if token in CYCLE:
            following = CYCLE[(CYCLE.index(token) + 1) % len(CYCLE)]
            order.remove(following)
            order.insert(0, following)
        row = bytearray(256)
        for rank, following in enumerate(order):
            row[following] = 255 - rank
        rows.append(bytes(row))
    return b"TOY1" + b"".join(rows)
