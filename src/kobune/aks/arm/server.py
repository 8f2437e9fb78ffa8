"""The HTTPS server of the front end: sign-in for everybody, ARM for bearers of a token."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from socket import socket

import orjson
from aiohttp import web

from kobune.aks.arm import graph, portal, run_command
from kobune.aks.arm.access import action_of, grants_of, require, visible
from kobune.aks.arm.auto_upgrade import follow_auto_upgrades
from kobune.aks.arm.diagnostics import collect, follow_audit
from kobune.aks.arm.errors import ArmError, error_body
from kobune.aks.arm.groups import follow_group_deletions
from kobune.aks.arm.guarding import follow_guards
from kobune.aks.arm.operations import LOOK_SECONDS, follow
from kobune.aks.arm.providers import check_registered
from kobune.aks.arm.request import BODY_LIMIT, ArmAnswer, ArmRequest, Caller, check_api_version
from kobune.aks.arm.routes import Operation, find_operation, methods_of
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.sign_in import SignInError, cloud_metadata, error_answer, openid_configuration
from kobune.aks.arm.throttling import Throttle
from kobune.aks.arm.tokens import check_bearer

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 2.0
AFTER_FAULT_SECONDS = 2.0
SELDOM_SECONDS = 10.0  # Between two looks at the clusters' logs when nobody asks, and at what is due.
GUARD_SECONDS = 1.0  # Until a role that was given counts inside clusters.
LOG_ANALYTICS = "https://api.loganalytics.io"  # The audience of tokens for queries.


class ArmServer:
    """Answers the requests. `follow` looks after what they started."""

    def __init__(self, service: ArmService, *, adopt: Callable[[ArmService], None] | None = None) -> None:
        self._service = service
        self._adopt = adopt
        self._throttle = Throttle(service.clock, service.throttle)
        self._guarded = 0.0  # When clusters' guards were last told of the directory.
        self._seldom = 0.0  # When what is done seldom was last done.

    async def follow(self) -> None:
        """Carry operations on until cancelled, those of an earlier service too."""
        run_command.end_interrupted(self._service)
        async with asyncio.TaskGroup() as tasks:
            for number in range(run_command.WORKERS):
                tasks.create_task(run_command.work(self._service), name=f"run command {number}")
            while True:
                try:
                    self._look()
                except Exception:
                    # One cluster's fault, a full disk: the others and their owners are still to be answered.
                    log.exception("operations could not be followed")
                    await self._service.clock.sleep(AFTER_FAULT_SECONDS)
                await self._service.clock.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        """Note what has ended, begin what is due."""
        if self._adopt is not None:
            self._adopt(self._service)
        follow(self._service)
        follow_group_deletions(self._service)
        follow_audit(self._service)
        now = self._service.clock.monotonic()
        if now - self._guarded > GUARD_SECONDS:
            self._guarded = now
            follow_guards(self._service)
        if now - self._seldom > SELDOM_SECONDS:
            self._seldom = now
            follow_auto_upgrades(self._service)
            collect(self._service)
            self._service.logs.trim(self._service.clock.now())

    def application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        began = self._service.clock.monotonic()
        request_id = self._service.new_id()
        try:
            answer = await self._answer(request)
        except ArmError as error:
            answer = ArmAnswer(error.status, error_body(error), self._challenge(request, error) | error.headers)
        except SignInError as refusal:
            body = error_answer(refusal, time=self._service.now(), new_id=request_id)
            answer = ArmAnswer(refusal.status, body)
        except web.HTTPRequestEntityTooLarge:
            too_large = ArmError(413, "RequestEntityTooLarge", f"The request content exceeds {BODY_LIMIT} bytes.")
            answer = ArmAnswer(413, error_body(too_large))
        except Exception:
            log.exception("request failed", extra={"method": request.method, "path": request.path})
            broken = ArmError(500, "InternalServerError", "The service has a fault; its log says which.")
            answer = ArmAnswer(500, error_body(broken))
        log.info(
            "request",
            extra={
                "method": request.method,
                "path": request.path,
                "status": answer.status,
                "command": request.headers.get("CommandName", ""),
                "milliseconds": round((self._service.clock.monotonic() - began) * 1000, 1),
            },
        )
        return _response(answer, request, request_id)

    async def _answer(self, request: web.Request) -> ArmAnswer:
        # Clients join endpoints that end in a slash with paths that begin with one.
        path = "/" + "/".join(segment for segment in request.path.split("/") if segment)
        base = f"https://{request.host}"
        public = await self._public(request, path, base)
        if public is not None:
            return public
        now = self._service.clock.now().timestamp()
        claims = check_bearer(
            request.headers.get("Authorization", ""),
            self._service.sign_in.issuer,
            tenant=self._service.sign_in.tenant,
            audiences=(base, LOG_ANALYTICS, f"{base}/loganalytics", f"{base}/msgraph"),
            now=now,
        )
        caller = Caller.of(claims)
        if path.lower().startswith(graph.ROOT):
            return graph.answer(self._service, await self._request(request, path, base, caller, {}))
        found = find_operation(request.method, path)
        if found is None:
            raise self._unknown(path)
        if found.operation.versioned:
            check_api_version(request.query.get("api-version"))
        self._check_scope(path)
        left = self._throttle.admit(request.method, path, caller, self._service.subscription)
        arm_request = await self._request(request, path, base, caller, found.parameters)
        answer = self._authorized(found.operation, arm_request)
        return replace(answer, headers={**answer.headers, **left})

    async def _request(
        self, request: web.Request, path: str, base: str, caller: Caller, parameters: Mapping[str, str]
    ) -> ArmRequest:
        return ArmRequest(
            method=request.method,
            path=path,
            parameters=parameters,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
            base=base,
            caller=caller,
        )

    def _authorized(self, operation: Operation, request: ArmRequest) -> ArmAnswer:
        """The answer, provided a role allows the call; of lists what the roles let one see."""
        service, held, sees_all = self._service, grants_of(self._service, request.caller), True
        if operation.authorized:
            action = operation.action or action_of(request.method, operation.segments)
            path = service.scope if not operation.versioned else request.path
            sees_all = require(service, request.caller, held, action=action, path=path)
        if request.method != "GET" and "/providers/microsoft.containerservice/" in request.path.lower():
            check_registered(service, "Microsoft.ContainerService")
        answer = operation.handler(service, request)
        if operation.path == "/subscriptions" and not held:
            return replace(answer, body={"value": []})
        if not sees_all and isinstance(answer.body, dict):
            return replace(answer, body=visible(answer.body, held))
        return answer

    async def _public(self, request: web.Request, path: str, base: str) -> ArmAnswer | None:
        """Sign-in and metadata: what is answered without a token."""
        service, lower = self._service, path.lower()
        sign_in, now = service.sign_in, service.clock.now().timestamp()
        if lower == "/metadata/endpoints":
            metadata = cloud_metadata(base)
            # Until 2019-05-01 and again in none, the answer was a list of clouds.
            return ArmAnswer(200, [metadata] if request.query.get("api-version", "") <= "2020-01-01" else metadata)
        if lower.endswith("/.well-known/openid-configuration"):
            return ArmAnswer(200, openid_configuration(base, sign_in.tenant, adfs=lower.startswith("/adfs/")))
        if lower.endswith("/discovery/v2.0/keys"):
            return ArmAnswer(200, sign_in.issuer.keys)
        if request.method == "POST" and lower.endswith(("/oauth2/v2.0/token", "/oauth2/token")):
            form = {name: str(value) for name, value in (await request.post()).items()}
            return ArmAnswer(200, sign_in.token(form, base=base, now=now, new_id=service.new_id()))
        if request.method == "POST" and lower.endswith(("/oauth2/v2.0/devicecode", "/oauth2/devicecode")):
            return ArmAnswer(200, sign_in.device_code(base=base, now=now, new_id=service.new_id()))
        if lower == "/portal" and request.method == "GET":
            portal.check_visitor(
                service,
                authorization=request.headers.get("Authorization", ""),
                host=request.host,
                remote=request.remote or "",
                base=base,
            )
            return ArmAnswer(200, headers=portal.HEADERS, page=portal.render(service))
        if lower == "/msi/token":
            if request.headers.get("X-IDENTITY-HEADER", "") != sign_in.principal.secret:
                raise ArmError(401, "Unauthorized", "The X-IDENTITY-HEADER header is missing or wrong.")
            resource, client = request.query.get("resource", ""), request.query.get("client_id", "")
            token = sign_in.managed_identity(resource, client, base=base, now=now, new_id=service.new_id())
            return ArmAnswer(200, token)
        return None

    def _check_scope(self, path: str) -> None:
        segments = path.split("/")
        if len(segments) > 2 and segments[1].lower() == "subscriptions" and segments[2]:
            wanted = segments[2]
            if wanted.lower() != self._service.subscription.lower():
                raise ArmError(404, "SubscriptionNotFound", f"The subscription '{wanted}' could not be found.")

    def _unknown(self, path: str) -> ArmError:
        methods = methods_of(path)
        if methods:
            return ArmError(
                405, "MethodNotAllowed", f"The path {path} is served with {', '.join(sorted(set(methods)))}.",
                headers={"Allow": ", ".join(sorted(set(methods)))},
            )  # fmt: skip
        return ArmError(
            404, "InvalidResourceType", f"The resource type of {path} is not served here; see docs/azure.md."
        )

    def _challenge(self, request: web.Request, error: ArmError) -> dict[str, str]:
        if error.status != 401:
            return {}
        authority = f"https://{request.host}/{self._service.sign_in.tenant}"
        return {
            "WWW-Authenticate": f'Bearer authorization_uri="{authority}", error="invalid_token", '
            f'error_description="{error}"'
        }


def _response(answer: ArmAnswer, request: web.Request, request_id: str) -> web.Response:
    headers = dict(answer.headers)
    headers |= {
        "x-ms-request-id": request_id,
        "x-ms-correlation-request-id": request.headers.get("x-ms-correlation-request-id", request_id),
        "x-ms-routing-request-id": f"KOBUNE:{request_id}",
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
        "Pragma": "no-cache",
    }
    if "x-ms-client-request-id" in request.headers and request.headers.get("x-ms-return-client-request-id") != "false":
        headers["x-ms-client-request-id"] = request.headers["x-ms-client-request-id"]
    if answer.page:
        return web.Response(status=answer.status, headers=headers, text=answer.page, content_type="text/html")
    if answer.body is None:
        return web.Response(status=answer.status, headers=headers)
    return web.Response(
        status=answer.status,
        headers=headers,
        body=orjson.dumps(answer.body),
        content_type="application/json",
        charset="utf-8",
    )


@asynccontextmanager
async def serve(server: ArmServer, sock: socket, tls: ssl.SSLContext) -> AsyncIterator[None]:
    """Answer requests on a bound socket for as long as the context lasts."""
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, sock, ssl_context=tls).start()
        yield
    finally:
        await runner.cleanup()
