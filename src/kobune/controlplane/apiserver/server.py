"""The API server: one request in, one answer out, whatever front end brought it."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, Self

from kobune.api.catalogue import METRICS_KINDS, Kind, builtin
from kobune.api.clock import Clock
from kobune.api.errors import (
    ApiError,
    InsufficientStorage,
    MethodNotAllowed,
    ServiceUnavailable,
)
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver import bootstrap, resources
from kobune.controlplane.apiserver.admission.chain import Admission
from kobune.controlplane.apiserver.admission.plugins import image_review, make_plugins
from kobune.controlplane.apiserver.admission.policies.type_checking import keep_checked
from kobune.controlplane.apiserver.admission.webhooks.client import WebhookClient
from kobune.controlplane.apiserver.aggregation.aggregator import Aggregator
from kobune.controlplane.apiserver.aggregation.forwarding import Forwarder
from kobune.controlplane.apiserver.answers import failure, page_not_found, with_warnings
from kobune.controlplane.apiserver.audit.auditor import Auditor
from kobune.controlplane.apiserver.audit.policy import Policy
from kobune.controlplane.apiserver.authentication.authenticator import Authenticator, is_public, static_tokens
from kobune.controlplane.apiserver.authentication.bootstrap_tokens import BootstrapTokens
from kobune.controlplane.apiserver.authentication.oidc import Oidc, fetch
from kobune.controlplane.apiserver.authentication.service_accounts import ServiceAccountTokens
from kobune.controlplane.apiserver.authentication.webhook import WebhookTokens
from kobune.controlplane.apiserver.authorization.authorizer import (
    Access,
    Authorization,
    Authorizer,
    Verdict,
    refusal,
)
from kobune.controlplane.apiserver.authorization.configuration import label_of
from kobune.controlplane.apiserver.authorization.escalation import Escalation
from kobune.controlplane.apiserver.authorization.node import NodeAuthorizer
from kobune.controlplane.apiserver.authorization.rbac import Rbac
from kobune.controlplane.apiserver.authorization.requested import access_of, path_access
from kobune.controlplane.apiserver.authorization.stages import authorizers_of
from kobune.controlplane.apiserver.authorization.webhook import WebhookAuthorizer, metrics_of
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.customresources.definitions import Definitions
from kobune.controlplane.apiserver.deadlines import Deadlines
from kobune.controlplane.apiserver.discovery import Discovery
from kobune.controlplane.apiserver.flowcontrol.configuration import GROUP as FLOW_GROUP
from kobune.controlplane.apiserver.flowcontrol.estimate import NOTHING_AFTER, WRITES, Aftermath, aftermath, seats_of
from kobune.controlplane.apiserver.flowcontrol.flowcontrol import Flow, FlowControl, FlowLimits, too_many
from kobune.controlplane.apiserver.flowcontrol.in_flight import InFlight
from kobune.controlplane.apiserver.identity import keep_identity
from kobune.controlplane.apiserver.impersonation import USER as IMPERSONATE
from kobune.controlplane.apiserver.impersonation import impersonated
from kobune.controlplane.apiserver.metrics import Metrics
from kobune.controlplane.apiserver.minting import Mint
from kobune.controlplane.apiserver.openapi.documents import OpenApi
from kobune.controlplane.apiserver.paths import find_path
from kobune.controlplane.apiserver.registry.reading import plain_render
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.rendering import table_render
from kobune.controlplane.apiserver.request import NOTHING, Request, Response, User
from kobune.controlplane.apiserver.reviewer import Reviewers
from kobune.controlplane.apiserver.routes import RequestInfo, Routes
from kobune.controlplane.apiserver.services.allocator import ServiceAllocator
from kobune.controlplane.apiserver.services.ranges import AddressRanges
from kobune.controlplane.apiserver.services.repair import Repair
from kobune.controlplane.apiserver.services.reservations import AddressRange, PortRange, Reservations
from kobune.controlplane.apiserver.subresources import PARTS, POSTED, SUBRESOURCES
from kobune.controlplane.apiserver.usage.schemas import usage_schema
from kobune.controlplane.apiserver.virtual import VIRTUAL
from kobune.controlplane.store.cache import Cache
from kobune.controlplane.store.contract import Damaged, Full, Store, Unavailable
from kobune.controlplane.store.feed import Feed
from kobune.controlplane.store.upkeep import keep_up
from kobune.controlplane.store.watchers import Render

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.kubelets import Kubelets
    from kobune.controlplane.apiserver.tables.columns import Printer
    from kobune.controlplane.apiserver.usage.sampler import UsageSampler

log = logging.getLogger(__name__)

LASTING = frozenset(("attach", "exec", "log", "portforward", "proxy"))
BOOKMARK_SECONDS = 60.0


class ApiServer:
    """`async with server:` runs its caches and its own work; `handle` may be called while that runs."""

    def __init__(
        self, config: ApiServerConfig, store: Store, *, clock: Clock, source: random.Random | None = None
    ) -> None:
        self.config = config
        self.clock = clock
        self.store = store
        self.catalogue = builtin(config.cluster_version, config.feature_gates, config.runtime_config)
        for kind in METRICS_KINDS if config.serve_metrics else ():
            self.catalogue.add(kind)
        self.routes = Routes(self.catalogue)
        self.feed = Feed(store, clock)
        self.registry = Registry(
            self.feed,
            self.catalogue,
            version=config.cluster_version,
            features=config.feature_gates,
            clock=clock,
            mint=Mint(source or random.Random()),  # Seeded by the system; nothing that it makes is a secret.
            admission=Admission(()),
        )
        self.registry.shared_store = config.shared_store
        self.registry.event_seconds = config.event_ttl
        ranges = AddressRanges(
            self.registry,
            config.service_cluster_ip_range,
            lambda cidr: AddressRange(cidr, lambda: format_time(clock.now()), self.registry.mint.uid),
        )
        self.addresses = ranges.first
        self.registry.allocators["", "services"] = ServiceAllocator(
            Reservations(store, self.registry.mint), ranges, PortRange(*config.service_node_port_range)
        )
        tokens = [static_tokens(config.static_tokens)] if config.static_tokens else []
        self.service_account_tokens: ServiceAccountTokens | None = None
        if config.service_account_keys is not None:
            self.service_account_tokens = ServiceAccountTokens(
                config.service_account_keys,
                self.registry,
                issuer=config.service_account_issuer,
                audiences=config.audiences,
                clock=clock,
            )
            tokens.append(self.service_account_tokens.authenticate)
        tokens.append(BootstrapTokens(self.registry, clock).authenticate)
        tokens += [Oidc(one, clock=clock, fetch=fetch).authenticate for one in config.issuers]
        tokens += config.token_authenticators
        self._reviewers = Reviewers(config.open_kubeconfig, clock, source or random.SystemRandom())
        if config.token_webhook is not None:
            asked = self._reviewers.open(config.token_webhook.kubeconfig)
            webhook = WebhookTokens(config.token_webhook, asked, audiences=config.audiences, clock=clock)
            tokens.append(webhook.authenticate)
        self.authenticator = Authenticator(
            tokens,
            anonymous_health=config.anonymous_health,
            anonymous_paths=config.anonymous_paths,
            request_headers=config.request_headers,
        )
        modes = {label_of(stage)[0] for stage in config.authorization_mode}
        self.rbac = Rbac(self.registry) if "RBAC" in modes else None
        self.node_authorizer = NodeAuthorizer(self.registry) if "Node" in modes else None
        known: dict[str, Authorizer | None] = {"Node": self.node_authorizer, "RBAC": self.rbac}
        stages = authorizers_of(config.authorization_mode, known, self._reviewers, clock)
        self.authorization = Authorization([*stages, *config.authorizers])
        self.registry.may = self.authorization.decide_now
        self.webhooks = WebhookClient(self.registry)
        self.registry.custom.send, self.registry.custom.new_uid = self.webhooks.convert, self.registry.mint.uid
        plugins = make_plugins(
            self.registry,
            self.webhooks,
            self.authorization,
            disabled=config.disabled_admission_plugins,
            enabled=config.enabled_admission_plugins,
            settings=config.admission,
            image_review=image_review(config.admission, config.enabled_admission_plugins, self._reviewers),
        )
        if self.rbac is not None:
            plugins.insert(0, Escalation(self.rbac, self.authorization))
        self.registry.admission = Admission(plugins)
        # Handlers of one kind's subresources, and of kinds that are asked and not kept.
        self.subresources: dict[tuple[str, str, str], resources.Handler] = dict(SUBRESOURCES)
        self.parts = PARTS
        self.companions: set[str] = set()  # Components of the same process, which are well as long as it lives.
        self.virtual: dict[tuple[str, str], resources.Handler] = {**POSTED, **VIRTUAL}
        self.aggregator = Aggregator(self.registry, Forwarder(self.registry, config.front_proxy))
        self.flow = self._flow()
        self.deadlines = Deadlines(config.request_timeout)
        self.discovery = Discovery(
            self.catalogue,
            address=f"{config.advertise_address or 'localhost'}:{config.advertise_port}",
            aggregated=self.aggregator,
        )
        self.openapi = OpenApi(self.catalogue, config.cluster_version, custom=self._schema_beside)
        self.metrics = Metrics()
        self.metrics.neighbours.append(self.flow.metrics)
        # Authorizers that are passed in stand for the one webhook that upstream's flags could name.
        labels = [*map(label_of, config.authorization_mode), *(("Webhook", "default") for _ in config.authorizers)]
        self.metrics.neighbours.append(partial(self.authorization.metrics, labels))
        webhooks = [one for one in stages if isinstance(one, WebhookAuthorizer)]
        if webhooks:
            self.metrics.neighbours.append(partial(metrics_of, webhooks))
        self.auditor: Auditor | None = None
        if config.audit_policy is not None and config.audit_sink is not None:
            policy = Policy(config.audit_policy)
            self.auditor = Auditor(policy, config.audit_sink, clock=clock, mint=self.registry.mint)
        self.plain_render = cache(self._plain_render)
        self.table_render = cache(self._table_render)
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.ready = False
        self.stopping = False

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self.webhooks.close)
        self._stack.push_async_callback(self.aggregator.forwarder.close)
        self._stack.push_async_callback(self._reviewers.close)
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._tasks = [
            group.create_task(self.feed.run(), name="store feed"),
            group.create_task(self._bookmarks(), name="watch bookmarks"),
            group.create_task(
                keep_up(self.feed, self.clock, self._events_cache, event_seconds=self.config.event_ttl),
                name="store upkeep",
            ),
        ]
        if self.rbac is not None:
            await self.rbac.load()
        if self.node_authorizer is not None:
            await self.node_authorizer.load()
        definitions = Definitions(self.registry)
        await definitions.load()
        self._tasks.append(group.create_task(definitions.run(), name="custom resource definitions"))
        await self.aggregator.load()
        await self.flow.load()
        if self.config.serve_bootstrap:
            await bootstrap.bootstrap(self)
            self._tasks += [
                group.create_task(bootstrap.keep(self), name="bootstrap objects"),
                group.create_task(keep_identity(self), name="identity lease"),
                group.create_task(self.aggregator.run(), name="aggregation"),
                group.create_task(self.flow.run(), name="flow schemas"),
                group.create_task(keep_checked(self.registry), name="types of policies"),
                group.create_task(Repair(self.store, self.registry).run(), name="service allocation repair"),
            ]
        self.ready = True
        log.info("API server ready", extra={"version": self.config.cluster_version, "revision": self.feed.revision})
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.stopping = True
        log.info("API server stops")
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._stack.aclose()

    async def handle(self, request: Request) -> Response:
        """The answer to a request; failures are Status objects. A preset `user` is believed."""
        response = await self._attempt(request)
        access = request.access
        if access is not None:
            labels = (access.verb, access.group, access.version, access.resource, access.subresource, response.status)
            self.metrics.observe(labels, self.clock.monotonic() - request.started)
        if request.flow_headers:
            response.headers = {**response.headers, **request.flow_headers}
        if request.warnings:
            response = with_warnings(response, request.warnings)
        if self.auditor is not None and request.audited is not None:
            response = self.auditor.answered(request.audited, response)
        return response

    async def _attempt(self, request: Request) -> Response:
        try:
            response = await self._respond(request)
        except ApiError as error:
            response = failure(error)
        except Full as error:
            response = failure(InsufficientStorage(str(error)))
        except Unavailable as error:
            # A client that was told when would repeat a write, too, of which nobody knows whether it was done.
            response = failure(ServiceUnavailable(str(error), retry_after_seconds=1 if request.method == "GET" else 0))
        except Damaged as error:
            log.error("%s", error)
            response = failure(ApiError(f"Internal error occurred: {error}"))
        except Exception as error:
            log.exception("request failed", extra={"method": request.method, "path": request.path})
            response = failure(ApiError(f"Internal error occurred: {type(error).__name__}"))
        return response

    def read_now(self, user: User, path: str) -> tuple[bytes, bytes] | None:
        """The answer to a GET of one object that needs no waiting, is allowed and not logged; None: ask `handle`.

        Returns: header lines of its own, and the body.
        """
        info = self.routes.parse("GET", path, NOTHING)
        if info is None or info.kind is None or not info.name or info.subresource or self.registry.shared_store:
            return None
        kind = info.kind
        cache = self.registry.open_cache(kind)
        if cache is None or kind.stored or "get" not in kind.verbs or kind.namespaced != bool(info.namespace):
            return None
        access = Access(user, "get", info.group, info.version, info.plural, "", info.namespace, info.name)
        if self.auditor is not None and self.auditor.notes(access):
            return None
        item = cache.get(info.namespace if kind.namespaced else "", info.name)
        if item is None or not self.authorization.allows_now(access):
            return None
        lines = self.flow.room(access)
        return None if lines is None else (lines, item.body)

    async def _respond(self, request: Request) -> Response:
        request.started = self.clock.monotonic()
        user = request.user
        is_ours = user is not None  # Parts of this process are kept from nobody, and nobody from them.
        if user is None:
            user = await self.authenticator.authenticate(request)
            if IMPERSONATE in request.headers:
                request.impersonator = user
                user = await impersonated(request, user, self.authorization)
            request.user = user
        info = self.routes.parse(request.method, request.path, request.query)
        access = access_of(user, info, request.query) if info is not None else path_access(user, request)
        request.access = access
        if self.auditor is not None:
            request.audited = self.auditor.received(request, access, request.impersonator)
        if is_ours or is_lasting(request, info):
            return await self._serve(request, info, access)
        flow = self.flow.classify(access)
        request.flow_headers = flow.headers
        with self.deadlines:
            seats = await self.flow.enter(flow, access, self._seats(info, request.query))
            if not seats:
                return too_many()
            began = self.clock.monotonic()
            try:
                return await self._serve(request, info, access)
            finally:
                self.flow.leave(flow, access, seats, self.clock.monotonic() - began, self._aftermath(info, flow))

    async def _serve(self, request: Request, info: RequestInfo | None, access: Access) -> Response:
        if info is None:
            return await self._path(request, access)
        if not info.verb and info.subresource != "proxy":  # Whatever the method means to whom it is passed on to.
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        if not self.authorization.allows_now(access):  # Nearly always it does, and without a task's detour.
            await self.authorization.require(access)
        remotes = self.aggregator.remotes
        if remotes and (remote := remotes.get((info.group, info.version))) is not None:
            return await self.aggregator.forwarder.forward(remote, request)
        return await resources.serve(self, request, info)

    def _seats(self, info: RequestInfo | None, query: Mapping[str, str]) -> int:
        if info is None or info.verb not in ("list", "watch") or info.kind is None:
            return 1
        return seats_of(info.verb, query, self.registry.open_cache(info.kind))

    def _aftermath(self, info: RequestInfo | None, flow: Flow) -> Aftermath:
        """What a write leaves to do for those who watch."""
        if info is None or info.kind is None or info.verb not in WRITES or flow.level.exempt:
            return NOTHING_AFTER
        cache = self.registry.open_cache(info.kind)
        return aftermath(info.subresource, len(cache.watchers)) if cache is not None else NOTHING_AFTER

    async def _path(self, request: Request, access: Access) -> Response:
        """A request that names no resource."""
        if not is_public(request.path):
            decision = await self.authorization.decide(access)
            if decision.verdict is not Verdict.ALLOW:
                raise refusal(access, decision.reason)
        remote = self.aggregator.remote_of_path(request.path) if self.aggregator.remotes else None
        if remote is not None:
            return await self.aggregator.forwarder.forward(remote, request)
        handler = find_path(request.path)
        if handler is None:
            return page_not_found()
        return await handler(self, request)

    @cached_property
    def kubelets(self) -> "Kubelets":
        """The way to the nodes; made at the first use, as it needs an HTTP client."""
        from kobune.controlplane.apiserver.kubelets import Kubelets

        found = Kubelets(self.config.kubelet_tls)
        self._stack.push_async_exit(found)
        return found

    @cached_property
    def usage(self) -> "UsageSampler":
        """What nodes and pods use; made at the first use, as the way to the nodes is."""
        from kobune.controlplane.apiserver.usage.sampler import UsageSampler

        return UsageSampler(self.kubelets, self.clock)

    def _flow(self) -> FlowLimits:
        config = self.config
        known = self.catalogue.find_kind(FLOW_GROUP, "v1", "FlowSchema")
        if not config.enable_priority_and_fairness or known is None:
            return InFlight(config.max_requests_inflight, config.max_mutating_requests_inflight)
        seats = config.max_requests_inflight + config.max_mutating_requests_inflight
        return FlowControl(self.registry, seats=seats, request_seconds=config.request_timeout)

    def _schema_beside(self, kind: Kind) -> Mapping[str, Any] | None:
        """The schema of a kind that has none among the built-in ones'."""
        return self.registry.custom.raw_schema(kind) if kind.custom else usage_schema(kind)

    def printer(self, kind: Kind) -> "Printer":
        """The columns of a kind."""
        from kobune.controlplane.apiserver.tables import find_printer

        if kind.custom:
            return self.registry.custom.version(kind).printer
        return find_printer(kind)

    def _table_render(self, kind: Kind, include: str) -> Render:
        return table_render(self, kind, include)

    def _plain_render(self, kind: Kind) -> Render:
        return plain_render(self.registry, kind)

    async def _events_cache(self) -> Cache:
        return await self.registry.cache(self.registry.builtin("", "v1", "Event"))

    async def _bookmarks(self) -> None:
        while True:
            await self.clock.sleep(BOOKMARK_SECONDS)
            self.feed.bookmark()


def is_lasting(request: Request, info: RequestInfo | None) -> bool:
    """Whether the answer is a stream that both sides take part in. Source: upstream longRunningRequestCheck."""
    if info is None or not info.subresource:
        return False
    return info.subresource in LASTING and (info.subresource != "log" or "follow" in request.query)
