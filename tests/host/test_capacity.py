"""How many real nodes fit on one machine."""

import pytest

from kobune.host.capacity import real_nodes


@pytest.mark.parametrize("gib, cores, expected", [
    pytest.param(8, 2, 16, id="memory"),
    pytest.param(64, 1, 16, id="cores"),
    pytest.param(512, 64, 32, id="never-more"),
    pytest.param(0, 2, 0, id="none"),
])  # fmt: skip
def test_real_nodes_by_memory_and_cores(gib, cores, expected):
    assert real_nodes(memory_bytes=gib * 1024**3, cores=cores) == expected
