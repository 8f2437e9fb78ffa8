"""The documentation's page of what the API server answers."""

from pathlib import Path

from kobune.api.catalogue import METRICS_KINDS, builtin
from kobune.controlplane.apiserver.coverage import METHODS, VERSION, render

PAGE = Path(__file__).parents[3] / "docs" / "api-server.md"


async def test_the_page_is_current():
    found = await render()
    wanted = "write it anew: python -m kobune.controlplane.apiserver.coverage > docs/api-server.md"
    assert PAGE.read_text() == found, wanted


async def test_what_is_announced_is_answered_and_nothing_else():
    rows = {}
    for line in (await render()).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4:
            rows[cells[0], cells[1]] = cells[2:]
    for kind in (*builtin(VERSION), *METRICS_KINDS):
        verbs, parts = rows[kind.name, kind.api_version]
        answered = set(METHODS) if verbs == "all" else set(verbs.split(", "))
        assert answered == set(kind.verbs), kind
        shown = {part.partition(" (")[0]: part.partition(" (")[2].rstrip(")") for part in parts.split("; ")}
        for name in kind.subresources:
            subresource = kind.subresource(name)
            assert set(shown[name].split(", ")) == set(subresource.verbs), (kind, name)
