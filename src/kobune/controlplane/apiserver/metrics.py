"""What the server counts of itself, under upstream's names."""

from collections import defaultdict
from collections.abc import Callable

# Upper bounds in seconds. Source: upstream apiserver_request_duration_seconds, thinned.
BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0)


class Metrics:
    """Counters and histograms; reading them renders Prometheus' text form."""

    def __init__(self) -> None:
        # By verb, group, version, resource, subresource and code.
        self.requests: defaultdict[tuple[str, str, str, str, str, int], int] = defaultdict(int)
        self.neighbours: list[Callable[[], str]] = []  # What components of the same process count, in the same form.
        self._durations: dict[str, list[int]] = {}  # By verb: one count per bucket and one above all.
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def observe(self, labels: tuple[str, str, str, str, str, int], seconds: float) -> None:
        """One request has been answered."""
        self.requests[labels] += 1
        verb = labels[0]
        counts = self._durations.get(verb)
        if counts is None:
            counts = self._durations[verb] = [0] * (len(BUCKETS) + 1)
        for position, bound in enumerate(BUCKETS):
            if seconds <= bound:
                counts[position] += 1
                break
        else:
            counts[-1] += 1
        self._seconds[verb] += seconds

    def lines(self) -> list[str]:
        text = ["# TYPE apiserver_request_total counter"]
        for (verb, group, version, resource, subresource, code), count in sorted(self.requests.items()):
            labels = (
                f'code="{code}",group="{group}",resource="{resource}",subresource="{subresource}",'
                f'verb="{verb.upper()}",version="{version}"'
            )
            text.append(f"apiserver_request_total{{{labels}}} {count}")
        text.append("# TYPE apiserver_request_duration_seconds histogram")
        for verb, counts in sorted(self._durations.items()):
            total = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                text.append(f'apiserver_request_duration_seconds_bucket{{verb="{verb.upper()}",le="{bound}"}} {total}')
            text.append(f'apiserver_request_duration_seconds_sum{{verb="{verb.upper()}"}} {self._seconds[verb]:.6f}')
            text.append(f'apiserver_request_duration_seconds_count{{verb="{verb.upper()}"}} {total}')
        return text
