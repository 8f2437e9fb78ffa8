"""Requests made from the OpenAPI v3 documents that the server itself serves: what they allow, and what they do not."""

import json
from urllib.parse import urlencode, urlsplit

import orjson
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis import GenerationMode

from tests.controlplane.apiserver.fuzz.conftest import SHORT

SAMPLE = ("apis/node.k8s.io/v1", "apis/coordination.k8s.io/v1")
MORE = (
    "apis/authorization.k8s.io/v1",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/storage.k8s.io/v1",
)
FEW = settings(SHORT, max_examples=8)
MANY = settings(SHORT, max_examples=40, derandomize=False)


def check_document(target, path, form, methods):
    status, content = target.ask("GET", f"/openapi/v3/{path}")
    assert status == 200
    found = [one.ok() for one in schemathesis.openapi.from_dict(orjson.loads(content)).get_all_operations()]
    assert found
    for operation in found:
        if (
            operation.method.upper() in methods and "/watch/" not in operation.path
        ):  # A watch has no end; it is a socket's matter, not a body's.
            for mode in GenerationMode:
                check_operation(target, operation, mode, form)


def check_operation(target, operation, mode, form):
    @form
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        sent = case.as_transport_kwargs(base_url="http://x")
        body = sent.get("data") or b""
        if "json" in sent or not isinstance(body, str | bytes):
            # Not by the fast encoder: there are integers of any length among these.
            body = json.dumps(sent.get("json", body), default=float)
        query = urlencode(
            {key: value for key, value in (sent.get("params") or {}).items() if key != "watch"}, doseq=True
        )
        path = urlsplit(sent["url"]).path
        data = body.encode(errors="surrogatepass") if isinstance(body, str) else body
        target.ask(sent["method"], f"{path}?{query}", data, sent["headers"].get("Content-Type", ""))

    check()


# Strategies for bodies take seconds to make, each: the short form has those for reading, and other tests have bodies.
@pytest.mark.parametrize("path", SAMPLE[:1])
def test_what_the_documents_say_can_be_asked(target, path):
    check_document(target, path, FEW, ("GET",))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", [*SAMPLE, *MORE])
def test_what_the_documents_say_can_be_asked_in_many_ways(target, path):
    check_document(target, path, MANY, ("GET", "POST", "PUT", "PATCH", "DELETE"))
