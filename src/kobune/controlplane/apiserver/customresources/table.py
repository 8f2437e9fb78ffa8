"""The custom kinds being served: how the objects of each version are read, defaulted, checked and stored."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Catalogue, Kind, version_order
from kobune.api.copying import clone
from kobune.api.custom import row_of, scale_paths
from kobune.api.errors import ApiError, FieldError, Json, NotFound, forbidden
from kobune.api.schema import Schema, load_schemas
from kobune.api.structural import apply_defaults, custom_schema, prune
from kobune.controlplane.apiserver.customresources.checks import CustomChecks
from kobune.controlplane.apiserver.customresources.conversion import Converted, Send, WebhookConversion

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.tables.columns import Printer

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_BEFORE_REVISION = b'"metadata":{"resourceVersion":"'


class CustomSchema(Schema):
    """The schema of a custom kind; `metadata` is that of every object's metadata."""

    __slots__ = ("metadata",)

    def __init__(self, schema: Schema, metadata: Schema) -> None:
        super().__init__(schema.raw)
        self.metadata = metadata


class CustomVersion:
    """One version of a custom kind, as its definition describes it."""

    def __init__(self, kind: Kind, version: Json, metadata: Schema) -> None:
        self.kind = kind
        self.schema = CustomSchema(custom_schema(version), metadata)
        self.raw_schema: Json | None = (version.get("schema") or {}).get("openAPIV3Schema")
        self.scale = scale_paths(version)
        self.checks = CustomChecks(kind, self.schema, version)
        self.warning = ""
        self._columns: Sequence[Json] = version.get("additionalPrinterColumns") or ()
        # How every stored body of this version begins.
        self.head = orjson.dumps({"kind": kind.name, "apiVersion": kind.api_version})[:-1] + b","

    @cached_property
    def printer(self) -> "Printer":
        # Here, because only people ask for tables.
        from kobune.controlplane.apiserver.tables.custom import custom_printer

        return custom_printer(self._columns)


class Served:
    """One definition while it is served. Objects stored up to the revision `trusted_after` may miss newer defaults."""

    def __init__(self, definition: Json, metadata: Schema, *, trusted_after: int) -> None:
        self.spec: Json = definition["spec"]
        self.accepted: Json = definition["status"]["acceptedNames"]
        self.trusted_after = trusted_after
        self.is_terminating = False
        self.webhook: Converted | None = None
        self.versions = {
            version["name"]: CustomVersion(row_of(definition, version), version, metadata)
            for version in self.spec["versions"]
        }
        self.storage = next(self.versions[one["name"]] for one in self.spec["versions"] if one.get("storage"))
        for version in self.spec["versions"]:
            if version.get("deprecated"):
                self.versions[version["name"]].warning = deprecation_warning(self.spec, version)

    @property
    def rows(self) -> Iterator[Kind]:
        """The kinds to serve."""
        return (self.versions[one["name"]].kind for one in self.spec["versions"] if one.get("served"))

    def read(self, target: CustomVersion, body: bytes) -> bytes:
        """A stored body as the clients of a version see it: with that version's fields and today's defaults."""
        if body.startswith(target.head) and (not self.trusted_after or revision_of(body) > self.trusted_after):
            return body
        obj = self.decoded(body)
        return orjson.dumps(self.converted(obj, target))

    def decoded(self, body: bytes) -> Json:
        """A stored object in the version it was stored in, without what that no longer has, with what it lacks."""
        obj: Json = orjson.loads(body)
        source = self.versions.get(obj["apiVersion"].rpartition("/")[2])
        if source is not None:
            prune(obj, source.schema)
            apply_defaults(obj, source.schema)
        return obj

    async def prepare(self, target: CustomVersion, bodies: Sequence[bytes]) -> None:
        """Ask the webhook for what `read` will need. Raises ApiError."""
        if self.webhook is not None:
            foreign = [self.decoded(body) for body in bodies if not body.startswith(target.head)]
            await self.webhook.convert(foreign, target.kind.api_version)

    def converted(self, obj: Json, target: CustomVersion) -> Json:
        """The object in another version: as its webhook said, or with another apiVersion alone."""
        if obj["apiVersion"] == target.kind.api_version:
            return obj
        if self.webhook is None:
            result = {**obj, "apiVersion": target.kind.api_version}
        else:
            known = self.webhook.find(obj, target.kind.api_version)
            if known is None:
                raise ApiError(f"{obj['kind']} has not been converted to {target.kind.api_version}")
            result = clone(known)
        prune(result, target.schema)
        return result


class CustomKinds:
    """All definitions being served, kept in step with the catalogue."""

    def __init__(self, catalogue: Catalogue, cluster_version: str) -> None:
        self._catalogue = catalogue
        self._version = cluster_version
        self._served: dict[tuple[str, str], Served] = {}
        self.send: Send | None = None  # How webhooks are called.
        self.new_uid: Callable[[], str] = lambda: ""

    def serve(self, definition: Json, *, trusted_after: int) -> bool:
        """Serve a definition's kinds under its accepted names from now on; whether that changes anything."""
        spec, accepted = definition["spec"], definition["status"]["acceptedNames"]
        key = (spec["group"], accepted["plural"])
        old = self._served.get(key)
        if old is not None and old.spec == spec and old.accepted == accepted:
            return False
        metadata = load_schemas(self._version).definition(OBJECT_META)
        new = Served(definition, metadata, trusted_after=trusted_after)
        conversion = spec.get("conversion") or {}
        if conversion.get("strategy") == "Webhook" and self.send is not None:
            webhook = conversion["webhook"]
            how = WebhookConversion(webhook["clientConfig"], webhook["conversionReviewVersions"], accepted["kind"])
            new.webhook = Converted(how, self.send, self.new_uid)
        if old is not None:
            new.is_terminating = old.is_terminating
            wanted = {row.version for row in new.rows}
            for row in old.rows:
                if row.version not in wanted:
                    self._catalogue.remove(row)
        self._served[key] = new
        for row in new.rows:
            self._catalogue.add(row)
        return True

    def withdraw(self, group: str, plural: str) -> None:
        """Serve a definition's kinds no longer."""
        served = self._served.pop((group, plural), None)
        for row in served.rows if served else ():
            self._catalogue.remove(row)

    def find(self, group: str, plural: str) -> Served | None:
        return self._served.get((group, plural))

    def served(self, kind: Kind) -> Served:
        """Raises NotFound when the definition has just gone."""
        served = self._served.get((kind.group, kind.plural))
        if served is None or kind.version not in served.versions:
            raise NotFound("the server could not find the requested resource")
        return served

    def version(self, kind: Kind) -> CustomVersion:
        return self.served(kind).versions[kind.version]

    def raw_schema(self, kind: Kind) -> Json | None:
        """As its definition gives it."""
        return self.version(kind).raw_schema

    def default(self, kind: Kind, obj: Json) -> None:
        apply_defaults(obj, self.version(kind).schema)

    def warn(self, kind: Kind, warnings: list[str]) -> None:
        """Tell users of a deprecated version so."""
        warning = self.version(kind).warning
        if warning and warning not in warnings:
            warnings.append(warning)

    def validate_create(self, kind: Kind, obj: Json) -> list[FieldError]:
        """The faults of a new object. Raises Forbidden: the definition is about to go."""
        served = self.served(kind)
        if served.is_terminating:
            why = "create not allowed while custom resource definition is terminating"
            raise forbidden(kind.plural, obj["metadata"].get("name", ""), why, group=kind.group)
        return served.versions[kind.version].checks.create(obj)

    def validate_update(self, kind: Kind, new: Json, old: Json, *, status: bool) -> list[FieldError]:
        return self.version(kind).checks.update(new, old, status=status)

    def read(self, kind: Kind, body: bytes) -> bytes:
        """A stored body in the version of `kind`."""
        served = self.served(kind)
        return served.read(served.versions[kind.version], body)

    def is_stale(self, kind: Kind, body: bytes) -> bool:
        """Whether a body is stored in another version than objects are stored in today."""
        return not body.startswith(self.served(kind).storage.head)

    def asks_webhook(self, kind: Kind) -> bool:
        """Whether objects are converted by a webhook, which takes time."""
        return self.served(kind).webhook is not None

    async def prepare(self, kind: Kind, bodies: Sequence[bytes]) -> None:
        """To be awaited before `read`: what is stored in another version is converted. Raises ApiError."""
        served = self.served(kind)
        if served.webhook is not None:
            await served.prepare(served.versions[kind.version], bodies)

    async def to_storage(self, kind: Kind, obj: Json) -> Json:
        return await self.convert(obj, self.served(kind).storage.kind)

    async def convert(self, obj: Json, target: Kind) -> Json:
        """An object in the version of `target`. Raises ApiError when the webhook fails."""
        served = self.served(target)
        if served.webhook is not None:
            await served.webhook.convert([obj], target.api_version)
        return served.converted(obj, served.versions[target.version])


def revision_of(body: bytes) -> int:
    start = body.index(_BEFORE_REVISION) + len(_BEFORE_REVISION)
    return int(body[start : body.index(b'"', start)])


def deprecation_warning(spec: Json, version: Json) -> str:
    """What users of a deprecated version are told. Source: upstream defaultDeprecationWarning."""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    group, kind, own = spec["group"], spec["names"]["kind"], version_order(version["name"])
    better = sorted(
        (one["name"] for one in spec["versions"] if one.get("served") and not one.get("deprecated")), key=version_order
    )
    newer = [name for name in better if version_order(name) < own]
    advice = f"; use {group}/{newer[0]} {kind}" if newer else ""
    return f"{group}/{version['name']} {kind} is deprecated{advice}"
