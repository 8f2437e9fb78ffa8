"""Sets of completion indexes and how a Job's status writes them: "0-3,5"."""

from collections.abc import Iterable

from kobune.api.objects.lean import Pod

INDEX = "batch.kubernetes.io/job-completion-index"  # Annotation and label.
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"


def parse_indexes(text: str, completions: int) -> set[int]:
    """The indexes below `completions`; what cannot be read ends the list."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            break
        found.update(range(int(first), min(int(last or first) + 1, completions)))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Ascending, three or more in a row as a range, two as a pair: "1,3-5,7,8"."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), None]:
        if run and (index is None or index != run[-1] + 1):
            if len(run) > 2:
                parts.append(f"{run[0]}-{run[-1]}")
            else:
                parts.extend(map(str, run))
            run = []
        if index is not None:
            run.append(index)
    return ",".join(parts)


def index_of(pod: Pod) -> int | None:
    """The completion index that the pod works on."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isdigit() else None


def failures_before(pod: Pod) -> int:
    """How often the pod's index had failed before it."""
    text = pod.metadata.annotations.get(FAILURES, "")
    return int(text) if text.isdigit() else 0
