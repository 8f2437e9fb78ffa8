"""Which rows changed since a reader last looked. The log forgets its oldest part; a reader that far behind starts over."""


class ChangeLog:
    """Positions only grow; `since` gives the rows after one, each once."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._start = 0

    @property
    def end(self) -> int:
        """The position of the next change."""
        return self._start + len(self._rows)

    def add(self, row: int, *, keep: int) -> None:
        """Note a change; `keep` is how many changes are worth remembering (more rows than that: start over)."""
        self._rows.append(row)
        if len(self._rows) > 2 * keep + 1024:
            forgotten = len(self._rows) - keep
            del self._rows[:forgotten]
            self._start += forgotten

    def since(self, position: int) -> list[int] | None:
        """The rows changed at or after `position`, in no order; None when that is no longer known."""
        if position < self._start:
            return None
        fresh = self._rows[position - self._start :]
        return fresh if len(fresh) < 2 else list(set(fresh))
