"""Secrets: what is written as text is kept encoded."""

from kobune.api.catalogue import find_builtin
from kobune.api.defaulting import apply_defaults


def test_string_data_ends_up_in_data_over_what_stands_there():
    secret = {
        "metadata": {"name": "a"},
        "data": {"kept": "eA==", "both": "eA=="},
        "stringData": {"both": "y", "new": "ü"},
    }
    apply_defaults(find_builtin("", "v1", "Secret"), secret)
    assert secret["data"] == {"kept": "eA==", "both": "eQ==", "new": "w7w="}
    assert "stringData" not in secret
    assert secret["type"] == "Opaque"
