import asyncio
import contextlib
import datetime
import ipaddress
import os
import ssl

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kobune.api.errors import Forbidden, ServiceUnavailable
from kobune.client.https import TOKEN_FRESH_SECONDS, HttpsTransport
from kobune.client.kubeconfig import KubeconfigError, load_kubeconfig, render_kubeconfig, write_kubeconfig


class Identity:
    """A certificate that vouches for itself, for a server on loopback and for a client."""

    def __init__(self, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@pytest.fixture(scope="module")
def server_identity():
    return Identity("server")


@pytest.fixture(scope="module")
def client_identity():
    return Identity("alice")


@contextlib.asynccontextmanager
async def serving(tmp_path, identity, trusted, handler):
    (tmp_path / "pair.pem").write_bytes(identity.certificate + identity.key)
    (tmp_path / "ca.pem").write_bytes(trusted.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "pair.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_kubeconfig_with_inline_certificates_makes_a_working_transport(
    tmp_path, server_identity, client_identity
):
    async def handler(request):
        peer = request.transport.get_extra_info("peercert")
        name = dict(pair[0] for pair in peer["subject"])["commonName"]
        return web.json_response({"user": name, "path": request.raw_path, "type": request.content_type})

    async with serving(tmp_path, server_identity, client_identity, handler) as url:
        path = tmp_path / "folder" / "config"
        write_kubeconfig(
            path,
            render_kubeconfig(
                cluster="sea",
                server=url,
                user="alice",
                authority=server_identity.certificate,
                certificate=client_identity.certificate,
                key=client_identity.key,
            ),
        )
        assert path.stat().st_mode & 0o777 == 0o600
        transport = load_kubeconfig(path)
        try:
            answer = await transport.request("POST", "/api/v1/x", query={"labelSelector": "a in (b,c)"}, body=b"{}")
        finally:
            await transport.close()
    assert answer.status == 200
    assert (
        answer.body
        == b'{"user": "alice", "path": "/api/v1/x?labelSelector=a+in+%28b%2Cc%29", "type": "application/json"}'
    )


async def test_watch_frames_come_whole_however_they_are_cut(tmp_path, server_identity):
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for part in (b'{"a":1}\n{"b"', b":2}\n", b'{"c":3}'):
            await response.write(part)
            await asyncio.sleep(0.01)
        return response

    async with serving(tmp_path, server_identity, server_identity, handler) as url:
        transport = trusting(url, server_identity, tmp_path)
        frames = [frame async for frame in transport.stream("/watch")]
        await transport.close()
    assert frames == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


async def test_nothing_stays_open_when_a_watch_was_left_and_the_server_does_not_answer_the_farewell(
    tmp_path, server_identity
):
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        request.transport.pause_reading()
        await response.write(b'{"a":1}\n')
        await seen.wait()
        request.transport.resume_reading()
        return response

    seen = asyncio.Event()
    async with serving(tmp_path, server_identity, server_identity, handler) as url:
        before = len(os.listdir("/proc/self/fd"))
        transport = trusting(url, server_identity, tmp_path)
        watch = transport.stream("/watch")
        assert await anext(watch) == b'{"a":1}'
        await watch.aclose()
        await transport.close()
        await asyncio.sleep(0.01)
        after = len(os.listdir("/proc/self/fd"))
        seen.set()
    assert after == before + 1  # The server's end.


async def test_a_refused_watch_raises_what_the_server_said(tmp_path, server_identity):
    async def handler(request):
        status = {"kind": "Status", "reason": "Forbidden", "code": 403, "message": "no"}
        return web.json_response(status, status=403)

    async with serving(tmp_path, server_identity, server_identity, handler) as url:
        transport = trusting(url, server_identity, tmp_path)
        with pytest.raises(Forbidden, match="no"):
            async for _ in transport.stream("/watch"):
                pass
        await transport.close()


async def test_a_token_file_is_read_again_when_it_is_no_longer_fresh(tmp_path, server_identity):
    class Hands:
        time = 0.0

        def monotonic(self):
            return self.time

    async def handler(request):
        return web.Response(text=request.headers["Authorization"])

    token = tmp_path / "token"
    token.write_text("one\n")
    clock = Hands()
    async with serving(tmp_path, server_identity, server_identity, handler) as url:
        transport = trusting(url, server_identity, tmp_path, token_file=token, clock=clock)
        assert (await transport.request("GET", "/")).body == b"Bearer one"
        token.write_text("two")
        assert (await transport.request("GET", "/")).body == b"Bearer one"
        clock.time += TOKEN_FRESH_SECONDS
        assert (await transport.request("GET", "/")).body == b"Bearer two"
        await transport.close()


async def test_an_unreachable_server_is_service_unavailable():
    transport = HttpsTransport("https://127.0.0.1:1")
    with pytest.raises(ServiceUnavailable, match="cannot reach"):
        await transport.request("GET", "/")
    with pytest.raises(ServiceUnavailable, match="cannot reach"):
        async for _ in transport.stream("/"):
            pass
    await transport.close()


async def test_an_unknown_authority_is_service_unavailable(tmp_path, server_identity, client_identity):
    async def handler(request):
        return web.Response()

    async with serving(tmp_path, server_identity, server_identity, handler) as url:
        transport = trusting(url, client_identity, tmp_path)
        with pytest.raises(ServiceUnavailable, match="certificate verify failed"):
            await transport.request("GET", "/")
        await transport.close()


def trusting(url, identity, tmp_path, **options) -> HttpsTransport:
    path = tmp_path / "trusting"
    write_kubeconfig(path, render_kubeconfig(cluster="c", server=url, user="u", authority=identity.certificate))
    transport = load_kubeconfig(path, clock=options.pop("clock", None))
    if options:
        transport._token_file = options["token_file"]
    return transport


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "cannot read kubeconfig"),
        ("current-context: x", "no entry 'x' in contexts"),
        ("{current-context: x, contexts: [{name: x, context: {cluster: y}}]}", "no entry 'y' in clusters"),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}], clusters: [{name: y, cluster: {}}]}",
            "has no server",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}],"
            " clusters: [{name: y, cluster: {server: 'https://a', certificate-authority-data: '%'}}]}",
            "is not base64",
        ),
    ],
)
def test_a_broken_kubeconfig_is_explained(tmp_path, text, complaint):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=complaint):
        load_kubeconfig(path)
