"""What the scheduler counts of itself, under upstream's names."""

from collections.abc import Mapping

from kobune.api.prometheus import Counter, Gauge, Histogram, exponential, render_text


class SchedulerMetrics:
    """Source of names, labels and buckets: upstream pkg/scheduler/metrics."""

    def __init__(self) -> None:
        seconds = exponential(0.001, 2, 15)
        self.attempts = Counter("scheduler_schedule_attempts_total", ("result", "profile"))
        self.attempt_seconds = Histogram(
            "scheduler_scheduling_attempt_duration_seconds", seconds, ("result", "profile")
        )
        self.algorithm_seconds = Histogram("scheduler_scheduling_algorithm_duration_seconds", seconds)
        self.victims = Histogram("scheduler_preemption_victims", exponential(1, 2, 7))
        self.preemptions = Counter("scheduler_preemption_attempts_total")
        self.pending = Gauge("scheduler_pending_pods", ("queue",))
        self.sli_seconds = Histogram(
            "scheduler_pod_scheduling_sli_duration_seconds", exponential(0.01, 2, 20), ("attempts",)
        )
        self.pod_attempts = Histogram("scheduler_pod_scheduling_attempts", exponential(1, 2, 5))
        self.incoming = Counter("scheduler_queue_incoming_pods_total", ("queue", "event"))
        self.extension_point_seconds = Histogram(
            "scheduler_framework_extension_point_duration_seconds",
            exponential(0.0001, 2, 12),
            ("extension_point", "status", "profile"),
        )
        # Of plugins that wait for something; how long the others take is in the algorithm's seconds.
        self.plugin_seconds = Histogram(
            "scheduler_plugin_execution_duration_seconds",
            exponential(0.00001, 1.5, 20),
            ("plugin", "extension_point", "status"),
        )
        self.after_flush = Counter("scheduler_pod_scheduled_after_flush_total")
        self.goroutines = Gauge("scheduler_goroutines", ("operation",))
        self.eviction_seconds = Histogram(
            "scheduler_preemption_goroutines_duration_seconds", exponential(0.01, 2, 20), ("result",)
        )
        self.evictions = Counter("scheduler_preemption_goroutines_execution_total", ("result",))
        self.group_attempts = Counter("scheduler_podgroup_schedule_attempts_total", ("result", "profile"))
        self.group_attempt_seconds = Histogram(
            "scheduler_podgroup_scheduling_attempt_duration_seconds", seconds, ("result", "profile")
        )
        self.group_algorithm_seconds = Histogram("scheduler_podgroup_scheduling_algorithm_duration_seconds", seconds)
        self.cache_size = Gauge("scheduler_cache_size", ("type",))
        self.unschedulable = Gauge("scheduler_unschedulable_pods", ("plugin", "profile"))

    def render(self) -> str:
        """The text of /metrics."""
        return render_text(vars(self).values())


def attempts_label(attempts: int) -> str:
    """Attempts of a pod, with few different values. Source: upstream getAttemptsLabel."""
    return "15+" if attempts >= 15 else str(attempts)


def set_pending(gauge: Gauge, counts: Mapping[str, int]) -> None:
    """The queue's counts as the pending_pods gauge."""
    for queue, count in counts.items():
        gauge.set(queue, to=count)
