"""The table says the same as a fresh one, whatever happened to it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.selectors import labels_from_json
from kobune.controlplane.scheduler.node_table import NodeTable


def test_a_removed_node_leaves_its_row_to_the_next(build):
    table = build.table(build.node("a"), build.node("b"))
    row = table.row_of["a"]
    table.remove_node("a")
    assert table.put_node(build.node("c")) == row
    assert len(table) == 2


def test_rows_grow_by_doubling_and_keep_what_they_hold(build):
    table = build.table(*(build.node(f"n{i}", cpu=str(i + 1)) for i in range(40)))
    assert table.capacity == 64
    assert table.allocatable[0, table.row_of["n39"]] == 40_000


def test_a_heartbeat_is_no_change(build):
    table = build.table(build.node("a"))
    before = table.node_changes.end
    table.put_node(build.node("a", conditions=[{"type": "Ready", "status": "True"}]))
    assert table.node_changes.end == before


def test_a_pod_may_come_before_its_node(build):
    table = build.table(pods=[build.info(on="later", requests={"cpu": "1"})])
    assert not table.exists[table.row_of["later"]]
    row = table.put_node(build.node("later"))
    assert table.requested[0, row] == 1000


def test_extended_resources_get_columns_as_they_appear(build):
    table = build.table(build.node("a"), build.node("b", more={"example.com/gpu": "2"}))
    column = table.resource_column("example.com/gpu")
    assert [int(table.allocatable[column, table.row_of[name]]) for name in "ab"] == [0, 2]


def test_a_pod_that_gets_labels_takes_what_it_took_and_is_found_by_them(build):
    table = build.table(build.node("a"))
    before = build.info(name="p", requests={"cpu": "1"}, metadata={"uid": "u"})
    after = build.info(name="p", on="a", requests={"cpu": "1"}, metadata={"uid": "u"}, labels={"zone": "z"})
    row = table.add_pod(before, "a")
    matching = table.counts.matching(None, labels_from_json({"matchLabels": {"zone": "z"}}), live_only=True)
    rooms, pods = table.room_changes.end, table.pod_changes.end
    assert after.shape.takes_like(before.shape)
    table.replace_pod(after, "a")
    assert int(matching[row]) == 1
    assert int(table.requested[0, row]) == 1000
    assert (table.room_changes.end, table.pod_changes.end) == (rooms, pods + 1)


STEP = st.tuples(st.sampled_from(["node", "gone", "pod", "left"]), st.integers(0, 5), st.integers(0, 5))


@given(st.lists(STEP, max_size=60))
def test_any_history_ends_in_the_same_table(build, history):
    """Rows are reused and counts are increments: neither may show in what is read."""
    table, nodes, pods = NodeTable(), {}, {}
    for what, which, where in history:
        name = f"n{which}"
        if what == "node":
            nodes[name] = build.node(name, cpu=str(where + 1), labels={"zone": f"z{where % 2}"})
            table.put_node(nodes[name])
        elif what == "gone":
            nodes.pop(name, None)
            table.remove_node(name)
        elif what == "pod" and which not in pods:
            pods[which] = build.info(name=f"p{which}", on=f"n{where}", requests={"cpu": "1"}, labels={"app": "x"})
            table.add_pod(pods[which], f"n{where}")
        elif what == "left" and which in pods:
            gone = pods.pop(which)
            table.remove_pod(gone.uid, gone.node_name)
    again = build.table(*nodes.values(), pods=pods.values())
    assert len(table) == len(again)
    for name in nodes:
        one, other = table.row_of[name], again.row_of[name]
        assert np.array_equal(table.requested[:3, one], again.requested[:3, other])
        assert np.array_equal(table.allocatable[:3, one], again.allocatable[:3, other])
        assert table.pod_count[one] == again.pod_count[other]
        assert table.value("zone", one) == again.value("zone", other)
