"""Cluster DNS on one node: answers names of the cluster itself, and asks others about the rest."""

import asyncio
import logging
import random
import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

from dnslib import CNAME, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSError, DNSRecord

from kobune.api.clock import Clock
from kobune.api.objects.core import Service
from kobune.api.objects.discovery import EndpointSlice
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.client.informer import Informer
from kobune.node.dns.records import TTL_SECONDS, Code, Record, Reply, resolve
from kobune.node.dns.service import ADDRESS
from kobune.node.machine.network import hold_address
from kobune.node.netns import connect_in, open_socket, run_in

log = logging.getLogger(__name__)

PORT = 53
UDP_BYTES = 512  # Of a client that does not say that it takes more. Source: RFC 1035, section 2.3.4.
FORWARD_SECONDS = 2.0
IDLE_SECONDS = 10.0
NO_QUESTION = (DNSError, ValueError, struct.error)  # What dnslib raises for bytes that are no question.
FORWARDS = 256  # Questions to others under way; the next wait.


def find_upstreams(text: str) -> list[str]:
    """The resolvers that a resolv.conf names and that can be asked from another network namespace."""
    servers = [words[1] for line in text.splitlines() if (words := line.split())[:1] == ["nameserver"] and words[1:]]
    return [server for server in servers if ":" not in server and not server.startswith("127.")]


class ClusterDns:
    """The server of one node.

    Args:
        address: the cluster's DNS address, which the node takes for its own.
        zone: the cluster's domain.
        upstreams: resolvers for all other names; without any these fail.
        namespace: the node's network namespace; None is this process's own.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        rng: random.Random,
        address: str = ADDRESS,
        zone: str = "cluster.local",
        upstreams: Sequence[str] = (),
        namespace: Path | None = None,
    ) -> None:
        self._directory = _Watched(client, clock)
        self._address = address
        self._zone = zone
        self._upstreams = upstreams
        self._namespace = namespace
        self._rng = rng
        self._forwards = asyncio.Semaphore(FORWARDS)

    async def run(self) -> None:
        """Answer until cancelled. Raises OSError when the address's port is taken."""
        await asyncio.to_thread(run_in, self._namespace, lambda: hold_address(IPv4Address(self._address)))
        udp = self._bind(socket.SOCK_DGRAM)
        tcp = self._bind(socket.SOCK_STREAM)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            for informer in self._directory.informers:
                tasks.create_task(informer.run(), name=f"watch {informer.resource.plural}")
            # Nothing is answered before everything is known: a name denied too early would be remembered.
            for informer in self._directory.informers:
                await informer.synced()
            transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self, tasks), sock=udp)
            server = await asyncio.start_server(self._serve_tcp, sock=tcp)
            log.info("cluster DNS answers", extra={"address": self._address, "zone": self._zone})
            try:
                await server.serve_forever()
            finally:
                transport.close()
                server.close()

    def _bind(self, kind: socket.SocketKind) -> socket.socket:
        sock = open_socket(self._namespace, kind=kind)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind((self._address, PORT))
        except OSError:
            sock.close()
            raise
        return sock

    def answer(self, query: bytes, *, udp: bool) -> bytes | None:
        """The answer to a question about the cluster; None when others must be asked. Raises what _parse raises."""
        request = _parse(query)
        reply = self._resolve(request)
        if reply.code is Code.NOT_OURS or _alias(request, reply):
            return None
        return self._render(request, reply, udp=udp)

    async def handle(self, query: bytes, *, udp: bool) -> bytes:
        """The answer to any question. Raises what _parse raises."""
        answer = self.answer(query, udp=udp)
        if answer is not None:
            return answer
        request = _parse(query)
        reply = self._resolve(request)
        async with self._forwards:
            if reply.code is Code.NOT_OURS:
                return await self._forward(query, udp=udp) or _failure(request)
            # Clients do not follow aliases themselves.
            response = self._response(request, reply)
            target = DNSRecord.question(_alias(request, reply), QTYPE.get(request.q.qtype))
            followed = await self.handle(bytes(target.pack()), udp=True)
        response.add_answer(*DNSRecord.parse(followed).rr)
        return _packed(request, response, udp=udp)

    def _resolve(self, request: DNSRecord) -> Reply:
        name = str(request.q.qname).rstrip(".")
        return resolve(name, QTYPE.get(request.q.qtype, ""), self._directory, self._zone)

    def _render(self, request: DNSRecord, reply: Reply, *, udp: bool) -> bytes:
        return _packed(request, self._response(request, reply), udp=udp)

    def _response(self, request: DNSRecord, reply: Reply) -> DNSRecord:
        response = request.reply(ra=1, aa=1)
        response.header.rcode = getattr(RCODE, reply.code)
        # Clients take the first address, so that the order spreads the load.
        for record in self._rng.sample(reply.answers, len(reply.answers)):
            response.add_answer(_rr(record))
        for record in reply.additional:
            response.add_ar(_rr(record))
        if not reply.answers:
            response.add_auth(_soa(self._zone))
        return response

    async def _forward(self, query: bytes, *, udp: bool) -> bytes | None:
        """The first upstream's answer, as it is."""
        for upstream in self._upstreams:
            try:
                async with asyncio.timeout(FORWARD_SECONDS):
                    return await (self._ask_udp if udp else self._ask_tcp)(upstream, query)
            except (OSError, EOFError):
                log.debug("an upstream resolver did not answer", extra={"upstream": upstream})
        return None

    async def _ask_udp(self, upstream: str, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        sock = open_socket(self._namespace, kind=socket.SOCK_DGRAM)
        with sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (upstream, PORT))
            await loop.sock_sendall(sock, query)
            while True:
                answer = await loop.sock_recv(sock, 65535)
                if answer[:2] == query[:2]:
                    return answer

    async def _ask_tcp(self, upstream: str, query: bytes) -> bytes:
        sock = await connect_in(self._namespace, upstream, PORT)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(struct.pack(">H", len(query)) + query)
            (size,) = struct.unpack(">H", await reader.readexactly(2))
            return await reader.readexactly(size)
        finally:
            writer.close()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    (size,) = struct.unpack(">H", await reader.readexactly(2))
                    query = await reader.readexactly(size)
                answer = await self.handle(query, udp=False)
                writer.write(struct.pack(">H", len(answer)) + answer)
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, *NO_QUESTION):
            return  # The client has gone, or never was one.
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    """Answers cluster names in place; only questions for others cost a task."""

    def __init__(self, dns: ClusterDns, tasks: asyncio.TaskGroup) -> None:
        self._dns = dns
        self._tasks = tasks
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own transport for datagrams is none by its class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        try:
            answer = self._dns.answer(data, udp=True)
        except NO_QUESTION:
            return
        if answer is None:
            self._tasks.create_task(self._forward(data, address), name="forward a question")
        elif self._transport is not None:
            self._transport.sendto(answer, address)

    async def _forward(self, data: bytes, address: tuple[str, int]) -> None:
        answer = await self._dns.handle(data, udp=True)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, address)


class _Watched:
    """The Directory, by informers."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._services = Informer(client, Service, clock=clock)
        self._slices = Informer(client, EndpointSlice, clock=clock)
        self._services.add_index("namespace", lambda service: [service.namespace])
        self._services.add_index("address", lambda service: [service.spec.cluster_ip])
        self._slices.add_index("service", lambda piece: [(piece.namespace, piece.service)])
        self._slices.add_index("address", lambda piece: [ip for each in piece.endpoints for ip in each.addresses])

    @property
    def informers(self) -> Sequence[Informer[Service] | Informer[EndpointSlice]]:
        return self._services, self._slices

    def find_service(self, namespace: str, name: str) -> Service | None:
        return self._services.get(Key(namespace, name))

    def slices_of(self, namespace: str, name: str) -> Iterable[EndpointSlice]:
        return self._slices.index("service", (namespace, name))

    def service_at(self, address: str) -> Service | None:
        return next(iter(self._services.index("address", address)), None)

    def slices_with(self, address: str) -> Iterable[EndpointSlice]:
        return self._slices.index("address", address)

    def has_services(self, namespace: str) -> bool:
        return bool(self._services.index("namespace", namespace))


def _parse(query: bytes) -> DNSRecord:
    """Raises one of NO_QUESTION."""
    request = DNSRecord.parse(query)
    if request.header.qr or not request.questions:
        raise DNSError("not a question")
    return request


def _alias(request: DNSRecord, reply: Reply) -> str:
    """The name whose addresses were really asked for; "" when the reply is complete."""
    if reply.answers and reply.answers[0].type == "CNAME" and request.q.qtype in (QTYPE.A, QTYPE.AAAA):
        return reply.answers[0].data
    return ""


def _packed(request: DNSRecord, response: DNSRecord, *, udp: bool) -> bytes:
    packet = bytes(response.pack())
    offered = next((rr.edns_len for rr in request.ar if rr.rtype == QTYPE.OPT), UDP_BYTES)
    if udp and len(packet) > max(offered, UDP_BYTES):
        return bytes(response.truncate().pack())  # The client asks again by TCP.
    return packet


def _failure(request: DNSRecord) -> bytes:
    response = request.reply(ra=1)
    response.header.rcode = RCODE.SERVFAIL
    return bytes(response.pack())


def _rr(record: Record) -> RR:
    if record.type == "SRV":
        priority, weight, port, target = record.data.split()
        data = SRV(int(priority), int(weight), int(port), target)
    else:
        data = {"A": A, "CNAME": CNAME, "PTR": PTR, "TXT": TXT}[record.type](record.data)
    return RR(record.name, getattr(QTYPE, record.type), rdata=data, ttl=TTL_SECONDS)


def _soa(zone: str) -> RR:
    """How long clients may remember that there is no such name."""
    times = (1, 7200, 1800, 86400, TTL_SECONDS)
    return RR(zone, QTYPE.SOA, rdata=SOA(f"ns.dns.{zone}", f"hostmaster.{zone}", times), ttl=TTL_SECONDS)
