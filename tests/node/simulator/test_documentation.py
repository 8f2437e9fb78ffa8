"""Every annotation that a simulated pod may carry is in the manual, in the words of its row, and no other is."""

import re
from pathlib import Path

from kobune.node.simulator.life import ANNOTATIONS, PREFIX

MANUAL = Path(__file__).parents[3] / "docs" / "simulated-nodes.md"


def test_the_manual_has_every_annotation():
    rows = re.findall(rf"\| `{re.escape(PREFIX)}([\w-]+)` \| (.+) \|", MANUAL.read_text())
    assert rows == [(each.name, each.meaning) for each in ANNOTATIONS]
