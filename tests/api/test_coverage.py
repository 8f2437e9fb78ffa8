"""The documentation's table of kinds."""

from pathlib import Path

from kobune.api.catalogue import KINDS
from kobune.api.coverage import render

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


def test_the_page_is_current():
    assert PAGE.read_text() == render(), "write it anew: python -m kobune.api.coverage > docs/coverage.md"


def test_every_kind_is_on_the_page():
    page = render()
    assert all(f"| {kind.name} |" in page and f"## {kind.api_version}\n" in page for kind in KINDS)


def test_bounds_are_said():
    page = render()
    assert "| FlowSchema | 1.26 to 1.31 | cluster | all | status | – |" in page
    assert "| MutatingAdmissionPolicy | from 1.36 | cluster | all | – | – |" in page
    assert "resize (from 1.33)" in page
