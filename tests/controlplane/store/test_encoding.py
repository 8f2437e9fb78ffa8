"""What is stored of an object."""

import orjson

from kobune.controlplane.store.encoding import encode


def test_sets_of_fields_are_written_sorted_as_upstream_writes_them():
    fields = {"f:spec": {"f:b": {}, 'k:{"name":"x"}': {"f:z": {}, ".": {}, "f:a": {}}}, "f:metadata": {"f:labels": {}}}
    entries = [{"manager": "one", "fieldsV1": fields}, {"manager": "two"}]
    value = encode(
        {"metadata": {"name": "a", "resourceVersion": "5", "managedFields": entries}, "kind": "Pod", "apiVersion": "v1"}
    )
    assert (
        b'{"f:metadata":{"f:labels":{}},"f:spec":{"f:b":{},"k:{\\"name\\":\\"x\\"}":{".":{},"f:a":{},"f:z":{}}}}'
        in value
    )
    assert orjson.loads(value)["metadata"] == {"name": "a", "managedFields": entries}
