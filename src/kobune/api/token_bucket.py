"""A limit that allows some at once, and then no more than grow back."""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Times are in seconds of one clock.

    Attributes:
        size: how many may be taken at once.
        refill_seconds: until one more may be.
    """

    size: float
    refill_seconds: float
    tokens: float
    filled: float

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        self.tokens = min(self.size, self.tokens + (now - self.filled) / self.refill_seconds)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
