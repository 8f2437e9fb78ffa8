"""Which pods there are of each PodGroup, and which of them have a node: whoever schedules them, bound or about to be."""

from kobune.api.objects.meta import Key


class GroupMembers:
    """Pods by group and uid."""

    def __init__(self) -> None:
        self._placed: dict[Key, dict[str, bool]] = {}

    def put(self, group: Key, uid: str, *, placed: bool) -> None:
        """The pod is there, with a node or without."""
        self._placed.setdefault(group, {})[uid] = placed

    def remove(self, group: Key, uid: str) -> None:
        """The pod is gone."""
        members = self._placed.get(group)
        if members is not None:
            members.pop(uid, None)
            if not members:
                del self._placed[group]

    def count(self, group: Key) -> int:
        """How many pods there are."""
        return len(self._placed.get(group, ()))

    def placed(self, group: Key) -> int:
        """How many of them have a node."""
        return sum(self._placed.get(group, {}).values())

    def waiting(self, group: Key) -> list[str]:
        """The uids of those without."""
        return [uid for uid, placed in self._placed.get(group, {}).items() if not placed]
