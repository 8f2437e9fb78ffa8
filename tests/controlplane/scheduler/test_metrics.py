"""Metrics in Prometheus' text form, under upstream's names."""

from kobune.api.prometheus import Histogram
from kobune.controlplane.scheduler.metrics import SchedulerMetrics, attempts_label


def test_a_histogram_counts_cumulatively():
    histogram = Histogram("h", (1, 2), ("kind",))
    for number in (0.5, 1, 1.5, 9):
        histogram.observe(number, "x")
    assert list(histogram.lines()) == [
        'h_bucket{kind="x",le="1"} 2', 'h_bucket{kind="x",le="2"} 3', 'h_bucket{kind="x",le="+Inf"} 4',
        'h_sum{kind="x"} 12', 'h_count{kind="x"} 4',
    ]  # fmt: skip


def test_names_are_upstreams():
    metrics = SchedulerMetrics()
    metrics.attempts.add("scheduled", "default-scheduler")
    text = metrics.render()
    assert 'scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"} 1' in text
    assert "# TYPE scheduler_pending_pods gauge" in text


def test_attempts_have_few_labels():
    assert [attempts_label(number) for number in (1, 14, 15, 99)] == ["1", "14", "15+", "15+"]
