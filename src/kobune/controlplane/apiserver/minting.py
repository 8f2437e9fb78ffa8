"""What the server makes up: uids, the ends of generated names."""

import random

# Without vowels and look-alikes, so that names spell no words. Source: upstream util/rand.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
LONGEST_BASE = 63 - SUFFIX_LENGTH


class Mint:
    """Fresh names from one source of randomness."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def uid(self) -> str:
        """A version 4 UUID."""
        bits = self._source.getrandbits(128)
        bits = bits & ~(0xF << 76) | 0x4 << 76
        bits = bits & ~(0x3 << 62) | 0x2 << 62
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self) -> str:
        return "".join(self._source.choices(ALPHABET, k=SUFFIX_LENGTH))

    def name(self, base: str) -> str:
        """`base` with a random end, cut so that both fit into a label."""
        return base[:LONGEST_BASE] + self.suffix()

    def seconds_between(self, low: float, high: float) -> float:
        return self._source.uniform(low, high)

    def pick(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return self._source.randint(low, high)
