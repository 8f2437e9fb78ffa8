"""Links of proxied pages."""

import pytest

from kobune.controlplane.apiserver.subresources.links import through

PREFIX = "/api/v1/namespaces/d/pods/a/proxy"


@pytest.mark.parametrize("page, expected", [
    pytest.param('<a href="/x">t</a>', f'<a href="{PREFIX}/x">t</a>', id="from-the-root"),
    pytest.param("<IMG alt='/y' src=/x/>", f"<IMG alt='/y' src=\"{PREFIX}/x/\">", id="no-quotes"),
    pytest.param('<a href="x?a=1&amp;b=2">', '<a href="x?a=1&amp;b=2">', id="relative"),
    pytest.param('<a href="http://10.0.0.1:80/x?q#f">', f'<a href="{PREFIX}/x?q#f">', id="the-server-by-name"),
    pytest.param('<a href="http://else/x">', '<a href="http://else/x">', id="another-server"),
    pytest.param(f'<a href="{PREFIX}/x">', f'<a href="{PREFIX}/x">', id="through-already"),
    pytest.param('<!-- <a href="/x"> --><p title="/x">/x', '<!-- <a href="/x"> --><p title="/x">/x', id="no-links"),
    pytest.param('<form action="/go" title="a > b">', f'<form action="{PREFIX}/go" title="a > b">', id="an-odd-tag"),
])  # fmt: skip
def test_links_of_the_server_lead_through_the_proxy(page, expected):
    assert through(PREFIX, page, {"10.0.0.1:80"}) == expected
