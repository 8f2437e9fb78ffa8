"""The query language over SQLite."""

import sqlite3
from datetime import UTC, datetime

import pytest

from kobune.aks.arm.kql import Column, KqlError, compile_query, has_term, render_time

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TABLES = {
    "Logs": (
        Column("TimeGenerated", "datetime"),
        Column("Category", "string"),
        Column("Message", "string"),
        Column("Size", "long"),
        Column("User", "dynamic"),
    )
}
ROWS = (
    (render_time(datetime(2026, 1, 5, 11, 59, tzinfo=UTC)), "kube-apiserver", "request failed: timeout", 10, '{"username": "ann"}'),
    (render_time(datetime(2026, 1, 5, 11, 30, tzinfo=UTC)), "kube-apiserver", "Request served", 5, '{"username": "bob"}'),
    (render_time(datetime(2026, 1, 5, 9, 0, tzinfo=UTC)), "kube-scheduler", "pod bound", 7, '{"username": "ann"}'),
)  # fmt: skip


def ask(text: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(":memory:")
    db.create_function("kql_has", 2, has_term)
    db.execute("CREATE TABLE Logs (TimeGenerated TEXT, Category TEXT, Message TEXT, Size INTEGER, User TEXT)")
    db.executemany("INSERT INTO Logs VALUES (?, ?, ?, ?, ?)", ROWS)
    query = compile_query(text, TABLES, NOW)
    rows = db.execute(query.sql, query.parameters)
    assert [column[0] for column in rows.description] == [column.name for column in query.columns]
    found = rows.fetchall()
    db.close()
    return found


@pytest.mark.parametrize(
    "text, rows",
    [
        ("Logs | count", [(3,)]),
        ("Logs | where TimeGenerated > ago(1h) | count", [(2,)]),
        ("Logs | where Category == 'kube-scheduler' | project Message", [("pod bound",)]),
        ("Logs | where Message contains 'REQUEST' | count", [(2,)]),
        ("Logs | where Message contains_cs 'Request' | count", [(1,)]),
        ("Logs | where Message has 'fail' | count", [(0,)]),
        ("Logs | where Message has 'Failed' | count", [(1,)]),
        ("Logs | where Message !has 'failed' and Size in (5, 7) | count", [(2,)]),
        ("Logs | where Message startswith 'REQ' or Message endswith 'bound' | count", [(3,)]),
        ("Logs | where Category =~ 'KUBE-SCHEDULER' | count", [(1,)]),
        ("Logs | where not(Category == 'kube-scheduler') | count", [(2,)]),
        ("Logs | summarize count() by Category | order by count_ desc", [("kube-apiserver", 2), ("kube-scheduler", 1)]),
        ("Logs | summarize n = count(), most = max(Size) by tostring(User.username) | sort by n asc", [("bob", 1, 5), ("ann", 2, 10)]),
        ("Logs | summarize count() by bin(TimeGenerated, 1h) | order by TimeGenerated asc",
         [("2026-01-05T09:00:00.000000Z", 1), ("2026-01-05T11:00:00.000000Z", 2)]),
        ("Logs | extend Double = Size * 2 | where Double > 10 | project Double | order by Double asc", [(14,), (20,)]),
        ("Logs | top 1 by Size | project Who = User.username", [("ann",)]),
        ("Logs | distinct Category | order by Category asc", [("kube-apiserver",), ("kube-scheduler",)]),
        ("Logs | order by TimeGenerated asc | take 1 | project Size", [(7,)]),
        ("Logs // all of them\n| where Size >= 7\n| summarize dcount(Category), sum(Size)", [(2, 17)]),
        ("Logs | where TimeGenerated between (ago(4h) .. ago(2h)) | count", [(1,)]),
        ("Logs | extend User = 'x' | where User == 'x' | count", [(3,)]),
    ],
)  # fmt: skip
def test_a_query_is_answered(text, rows):
    assert ask(text) == rows


@pytest.mark.parametrize(
    "text, says",
    [
        ("Nothing | take 1", "Failed to resolve table 'Nothing'"),
        ("Logs | where Nope == 1", "named 'Nope'"),
        ("Logs | frobnicate", "operator 'frobnicate'"),
        ("Logs | where frob(Size)", "function 'frob'"),
        ("Logs | where", "at the end of the query"),
        ("Logs | take x", "no number of rows"),
        ("Logs | where Size == 1 ; drop table Logs", "could not be parsed"),
        ("Logs | where " + "(" * 100, "nested too deep"),
    ],
)
def test_what_is_not_understood_is_named(text, says):
    with pytest.raises(KqlError, match=None) as refused:
        ask(text)
    assert says in str(refused.value)


def test_what_the_user_wrote_never_becomes_sql():
    assert ask("""Logs | where Message == "x' OR 1=1 --" | count""") == [(0,)]
