"""From log files to answers: diagnostic settings, tables, queries, limits."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from kobune.aks.arm.diagnostics import collect
from kobune.aks.arm.kql import render_time
from kobune.aks.arm.log_store import LogStore
from kobune.aks.audit import POLICY
from kobune.controlplane.apiserver.audit.policy import Policy


@pytest.fixture
def logged(arm, tmp_path):
    """A cluster that logs, and a workspace for it."""
    arm.fleet.log_folder = tmp_path / "logs"
    arm.fleet.log_folder.mkdir()
    arm.created()
    assert (
        arm.call(
            "PUT",
            "resourceGroups/rg1/providers/Microsoft.OperationalInsights/workspaces/w1",
            {"location": "westeurope"},
        )[0]
        == 201
    )
    return arm


def setting(arm, *categories: str, name: str = "s1"):
    logs = [{"category": category, "enabled": True} for category in categories]
    return arm.call(
        "PUT", f"{arm.path()}/providers/Microsoft.Insights/diagnosticSettings/{name}", {"properties": {"logs": logs}}
    )


def ask(arm, query: str, **more: str):
    workspace = arm.call("GET", "resourceGroups/rg1/providers/Microsoft.OperationalInsights/workspaces/w1")[1]
    customer = workspace["properties"]["customerId"]
    return arm.call("POST", f"/v1/workspaces/{customer}/query", {"query": query, **more})


def write(arm, category: str, *messages: str, time: datetime = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)) -> None:
    lines = [
        json.dumps({"time": time.isoformat(), "level": "info", "category": category, "message": message, "pod": "a/b"})
        for message in messages
    ]
    with (arm.fleet.log_folder / f"{category}.log").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def audit(arm, verb: str, **more: object) -> None:
    moment = "2026-01-05T08:00:00.000000Z"
    event = {"level": "Metadata", "auditID": "1", "stage": "ResponseComplete", "requestURI": "/api/v1/pods", "verb": verb,
             "user": {"username": "ann"}, "stageTimestamp": moment, "requestReceivedTimestamp": moment, **more}  # fmt: skip
    with (arm.fleet.log_folder / "kube-audit.log").open("a") as file:
        file.write(json.dumps(event) + "\n")


def test_what_a_setting_asks_for_is_found_by_a_query(logged):
    setting(logged, "kube-scheduler")
    write(logged, "kube-scheduler", "pod bound", "pod unschedulable")
    write(logged, "kube-controller-manager", "reconciled")
    status, body = ask(logged, "AKSControlPlane | where Message has 'bound' | project Category, Level, Message")
    assert status == 200
    (table,) = body["tables"]
    assert [column["name"] for column in table["columns"]] == ["Category", "Level", "Message"]
    assert table["rows"] == [["kube-scheduler", "INFO", "pod bound pod=a/b"]]
    assert ask(logged, "AKSControlPlane | count")[1]["tables"][0]["rows"] == [[2]]


def test_lines_are_read_once_and_after_rotation_from_the_start(logged):
    setting(logged, "kube-scheduler")
    write(logged, "kube-scheduler", "one")
    collect(logged.service)
    collect(logged.service)
    (logged.fleet.log_folder / "kube-scheduler.log").rename(logged.fleet.log_folder / "kube-scheduler.log.1")
    write(logged, "kube-scheduler", "two")
    assert ask(logged, "AKSControlPlane | count")[1]["tables"][0]["rows"] == [[2]]


def test_audit_events_go_to_their_tables_and_writes_to_the_administrators(logged):
    setting(logged, "kube-audit", "kube-audit-admin")
    logged.settle()
    assert logged.fleet.views["c1-0"].cluster.audited
    audit(logged, "list")
    audit(logged, "create", requestObject={"data": "x" * 70_000})
    rows = ask(logged, "AKSAudit | where User.username == 'ann' | summarize count() by Verb | order by Verb asc")[1][
        "tables"
    ][0]["rows"]
    assert rows == [["create", 1], ["list", 1]]
    rows = ask(logged, "AKSAuditAdmin | project Verb, RequestObject")[1]["tables"][0]["rows"]
    assert rows == [["create", '"skipped-too-big-size-object"']]


def test_without_a_setting_nothing_is_audited_any_more(logged):
    setting(logged, "kube-audit")
    logged.settle()
    assert logged.call("DELETE", f"{logged.path()}/providers/Microsoft.Insights/diagnosticSettings/s1")[0] == 200
    from kobune.aks.arm.diagnostics import follow_audit

    follow_audit(logged.service)
    logged.settle()
    assert not logged.fleet.views["c1-0"].cluster.audited


def test_a_query_of_one_cluster_sees_that_cluster_alone(logged):
    setting(logged, "kube-scheduler")
    write(logged, "kube-scheduler", "one")
    path = f"{logged.path()}/providers/Microsoft.Insights/logs"
    assert logged.call("POST", path, {"query": "AKSControlPlane | count"})[1]["tables"][0]["rows"] == [[1]]
    logged.created("c2")
    path = f"{logged.path('c2')}/providers/Microsoft.Insights/logs"
    assert logged.call("POST", path, {"query": "AKSControlPlane | count"})[1]["tables"][0]["rows"] == [[0]]


def test_a_timespan_is_a_limit_from_below(logged):
    setting(logged, "kube-scheduler")
    write(logged, "kube-scheduler", "old", time=datetime(2026, 1, 4, 8, 0, tzinfo=UTC))
    write(logged, "kube-scheduler", "new")
    assert ask(logged, "AKSControlPlane | count", timespan="PT1H")[1]["tables"][0]["rows"] == [[1]]
    assert ask(logged, "AKSControlPlane | count", timespan="P2D")[1]["tables"][0]["rows"] == [[2]]
    assert ask(logged, "AKSControlPlane | count", timespan="soon")[1]["code"] == "InvalidParameter"


def test_refusals_name_what_is_wrong(logged):
    assert setting(logged, "nonsense")[1]["code"] == "BadRequest"
    status, error = ask(logged, "AKSControlPlane | where Nope == 1")
    assert (status, error["code"]) == (400, "BadArgumentError")
    assert "'Nope'" in error["message"]
    assert (
        logged.call("POST", "/v1/workspaces/none/query", {"query": "AKSAudit"})[1]["code"] == "WorkspaceNotFoundError"
    )


def test_records_are_kept_within_age_and_size():
    now = datetime(2026, 1, 31, tzinfo=UTC)
    store = LogStore(":memory:")
    rows = [
        ("AKSControlPlane", {"TimeGenerated": render_time(now - timedelta(days=day)), "Message": "x" * 1000})
        for day in range(60)
        for _ in range(20)
    ]
    store.add(rows, file="f", inode=1, offset=1)
    store.trim(now, days=30)
    [[left]] = store.query("AKSControlPlane | count", now).rows
    assert left == 31 * 20
    store.trim(now, days=30, most_bytes=400_000)
    [[fewer, oldest]] = store.query("AKSControlPlane | summarize count(), min(TimeGenerated)", now).rows
    assert 0 < fewer < left
    assert oldest > render_time(now - timedelta(days=30))
    store.close()


def test_akss_audit_policy_is_one():
    Policy(POLICY)
