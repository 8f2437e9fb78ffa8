"""The program that runs upstream's conformance suite: what it makes of the suite's reports."""

import os
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

LOADER = SourceFileLoader("conformance", str(Path(__file__).parents[2] / "tools" / "conformance"))
SPEC = spec_from_loader("conformance", LOADER)
conformance = module_from_spec(SPEC)
LOADER.exec_module(conformance)


def report(folder, name, age, *cases):
    path = folder / name / "junit_01.xml"
    path.parent.mkdir()
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    os.utime(path, (1_000_000 - age, 1_000_000 - age))


def case(name, inner=""):
    return f'<testcase name="{name}" time="1.5">{inner}</testcase>'


def test_the_newest_result_of_each_test_counts(tmp_path):
    one, other = "[sig-apps] Job runs [Conformance]", "[sig-node] Pods run [Conformance]"
    failed = '<failure message="it did&#10;not run"/>'
    report(tmp_path, "old", 60, case(f"[It] {one} [sig-apps, Conformance]", failed), case(other))
    report(
        tmp_path, "new", 0, case(one), case(other, failed), case("[sig-apps] Other", failed), case("x", "<skipped/>")
    )
    results = conformance.read(tmp_path)
    assert {name: result.passed for name, result in results.items()} == {one: True, other: False}
    assert conformance.table(results).splitlines() == [
        "| SIG | passed | failed |",
        "|---|---:|---:|",
        "| apps | 1 | 0 |",
        "| node | 0 | 1 |",
        "| all | 1 | 1 |",
        "",
        "Failed:",
        "",
        f"- {other}: it did not run",
    ]
