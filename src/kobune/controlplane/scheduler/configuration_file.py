"""KubeSchedulerConfiguration, as upstream reads it: profiles, plugin sets, weights and arguments, checked and merged.

Source: Kubernetes documentation, Scheduler Configuration; upstream apis/config v1 defaults and validation, and
framework/runtime for what a plugin set comes to. `percentageOfNodesToScore`, `parallelism`, `clientConnection` and the
profiling switches are accepted and have no effect: every node is always looked at, in one process.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import yaml

from kobune.api.errors import FieldError, Invalid, Json
from kobune.api.field_errors import duplicate, invalid, required
from kobune.api.names import is_qualified_name
from kobune.controlplane.scheduler.configuration import DEFAULT_SCHEDULER, Configuration, ProfileConfiguration, Use
from kobune.controlplane.scheduler.extender import read_extenders
from kobune.controlplane.scheduler.plugin_args import check_args
from kobune.controlplane.scheduler.plugins.table import PluginRow, plugins_with

KIND = "KubeSchedulerConfiguration"
API_VERSION = "kubescheduler.config.k8s.io/v1"
REMOVED = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")

# In the order in which upstream expands `multiPoint`.
POINTS = (
    "preFilter", "filter", "postFilter", "reserve", "preScore", "score", "preBind", "bind", "postBind", "permit",
    "preEnqueue", "queueSort",
)  # fmt: skip
FIELDS = frozenset({
    "apiVersion", "kind", "parallelism", "leaderElection", "clientConnection", "enableProfiling",
    "enableContentionProfiling", "percentageOfNodesToScore", "podInitialBackoffSeconds", "podMaxBackoffSeconds",
    "profiles", "extenders", "delayCacheUntilActive",
})  # fmt: skip


def parse_configuration(text: str | bytes, features: frozenset[str] = frozenset()) -> Configuration:
    """The configuration that a file's text means, with these feature gates on.

    Raises:
        Invalid: not a KubeSchedulerConfiguration, or one that cannot be; every fault of its fields is named at once.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Invalid(f"couldn't get version/kind; json parse error: {' '.join(str(error).split())}") from error
    return read_configuration(document if isinstance(document, dict) else {}, features)


def read_configuration(document: Json, features: frozenset[str] = frozenset()) -> Configuration:
    """The same from a document. Raises Invalid."""
    kind, version = document.get("kind", ""), document.get("apiVersion", "")
    if (kind, version) != (KIND, API_VERSION):
        raise Invalid(f'no kind "{kind}" is registered for version "{version}"')
    unknown = sorted(document.keys() - FIELDS)
    if unknown:
        raise Invalid("strict decoding error: " + ", ".join(f'unknown field "{field}"' for field in unknown))
    profiles = document.get("profiles") or [{}]
    if len(profiles) == 1:
        profiles = [{"schedulerName": DEFAULT_SCHEDULER, **profiles[0]}]
    errors = [*_check(document), *_check_profiles(profiles)]
    if errors:
        raise Invalid(_joined(errors), *errors)
    return Configuration(
        profiles=tuple(_profile(profile, _ignored(document), features) for profile in profiles),
        pod_initial_backoff_seconds=document.get("podInitialBackoffSeconds", 1),
        pod_max_backoff_seconds=document.get("podMaxBackoffSeconds", 10),
        extenders=read_extenders(document.get("extenders") or ()),
        features=features,
    )


def _joined(errors: Sequence[FieldError]) -> str:
    parts = list(dict.fromkeys(f"{error.field}: {error.message}" for error in errors))
    return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"


# Checks.


def _check(document: Json) -> Iterator[FieldError]:
    election = document.get("leaderElection") or {}
    lock = election.get("resourceLock") or "leases"
    if election.get("leaderElect", True) and lock != "leases":
        yield invalid("leaderElection.resourceLock", lock, 'resourceLock value must be "leases"')
    if document.get("parallelism", 16) <= 0:
        yield invalid("parallelism", document["parallelism"], "should be an integer value greater than zero")
    yield from _check_percentage("percentageOfNodesToScore", document.get("percentageOfNodesToScore"))
    first, most = document.get("podInitialBackoffSeconds", 1), document.get("podMaxBackoffSeconds", 10)
    if first <= 0:
        yield invalid("podInitialBackoffSeconds", first, "must be greater than 0")
    if most < first:
        yield invalid("podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds")
    yield from _check_extenders(document.get("extenders") or ())


def _check_extenders(extenders: Sequence[Json]) -> Iterator[FieldError]:
    managed: set[str] = set()
    for index, extender in enumerate(extenders):
        path = f"extenders[{index}]"
        if extender.get("prioritizeVerb") and extender.get("weight", 0) <= 0:
            weight = extender.get("weight", 0)
            yield invalid(f"{path}.weight", weight, "must have a positive weight applied to it")
        for number, resource in enumerate(extender.get("managedResources") or ()):
            where, name = f"{path}.managedResources[{number}].name", resource.get("name", "")
            problems = is_qualified_name(name)
            for problem in problems:
                yield invalid(where, name, problem)
            if not problems and not _is_extended(name):
                yield invalid(where, name, "is an invalid extended resource name")
            if name in managed:
                yield invalid(where, name, "duplicate extender managed resource name")
            managed.add(name)
    binders = sum(bool(extender.get("bindVerb")) for extender in extenders)
    if binders > 1:
        found = f"found {binders} extenders implementing bind"
        yield invalid("extenders", found, "only one extender can implement bind")


def _is_extended(name: str) -> bool:
    """Source: upstream IsExtendedResourceName."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def _check_percentage(path: str, value: int | None) -> Iterator[FieldError]:
    if value is not None and not 0 <= value <= 100:
        yield invalid(path, value, "not in valid range [0-100]")


def _check_profiles(profiles: Sequence[Json]) -> Iterator[FieldError]:
    seen: dict[str, int] = {}
    for index, profile in enumerate(profiles):
        path, name = f"profiles[{index}]", profile.get("schedulerName") or ""
        if not name:
            yield required(f"{path}.schedulerName")
        yield from _check_percentage(f"{path}.percentageOfNodesToScore", profile.get("percentageOfNodesToScore"))
        yield from _check_removed(path, profile)
        yield from _check_plugin_config(path, profile)
        if name in seen:
            yield duplicate(f"{path}.schedulerName", f"profiles[{seen[name]}].schedulerName")
        seen[name] = index
    canon = (profiles[0].get("plugins") or {}).get("queueSort") or {}
    for index, profile in enumerate(profiles[1:], start=1):
        current = (profile.get("plugins") or {}).get("queueSort") or {}
        if current != canon:
            yield invalid(f"profiles[{index}].plugins.queueSort", current, "must be the same for all profiles")


def _check_removed(path: str, profile: Json) -> Iterator[FieldError]:
    for point, plugins in (profile.get("plugins") or {}).items():
        for index, plugin in enumerate((plugins or {}).get("enabled") or ()):
            if plugin.get("name") in REMOVED:
                where = f"{path}.plugins.{point}.enabled[{index}]"
                yield invalid(where, plugin["name"], _was_removed())


def _was_removed() -> str:
    return f'was invalid in version "{API_VERSION}" (KubeSchedulerConfiguration is version "{API_VERSION}")'


def _check_plugin_config(path: str, profile: Json) -> Iterator[FieldError]:
    seen = set()
    for index, config in enumerate(profile.get("pluginConfig") or ()):
        where, name = f"{path}.pluginConfig[{index}]", config.get("name", "")
        if name in seen:
            yield duplicate(where, name)
        seen.add(name)
        if name in REMOVED:
            yield invalid(where, name, _was_removed())
        yield from check_args(name, config.get("args") or {}, f"{where}.args")


# Plugin sets.


def _ignored(document: Json) -> list[str]:
    """Resources that extenders count, and the scheduler does not."""
    managed = [one for extender in document.get("extenders") or () for one in extender.get("managedResources") or ()]
    return [one["name"] for one in managed if one.get("ignoredByScheduler")]


def _profile(profile: Json, ignored: Sequence[str], features: frozenset[str]) -> ProfileConfiguration:
    name = profile["schedulerName"]
    plugins = profile.get("plugins") or {}
    try:
        points = effective_points(plugins, features)
    except LookupError as error:
        raise Invalid(f"initializing profiles: creating profile for scheduler name {name}: {error.args[0]}") from None
    args = {config["name"]: config.get("args") or {} for config in profile.get("pluginConfig") or ()}
    if ignored:
        fit = args.get("NodeResourcesFit", {})
        args["NodeResourcesFit"] = {**fit, "ignoredResources": [*(fit.get("ignoredResources") or ()), *ignored]}
    return ProfileConfiguration(name, points, args)


def effective_points(plugins: Mapping[str, Json], features: frozenset[str] = frozenset()) -> dict[str, tuple[Use, ...]]:
    """Which plugins run at each point: those of `multiPoint`, the defaults included, as each point overrides them.

    Raises:
        LookupError: a plugin is unknown, does not have the point, or is enabled twice; the message is upstream's.
    """
    rows = {row.name: row for row in plugins_with(features)}
    multi = _merged(plugins.get("multiPoint") or {}, rows.values())
    points = {}
    for point in POINTS:
        own = plugins.get(point) or {}
        enabled, disabled = _enabled(own), _disabled(own)
        kind = f"{point[0].upper()}{point[1:]}Plugin"
        for use in enabled:
            _check_use(use, point, kind, rows)
        _check_twice(enabled, kind)
        points[point] = tuple(_expanded(multi, enabled, disabled, point, kind, rows))
    if not points["bind"]:
        raise LookupError("at least one bind plugin is needed")
    return points


def _merged(custom: Json, rows: Iterable[PluginRow]) -> list[Use]:
    """The default plugins as `multiPoint` changes them, then those that it adds. Source: upstream mergePluginSet."""
    enabled, disabled = _enabled(custom), _disabled(custom)
    replaced = {use.name: use for use in enabled}
    result: list[Use] = []
    if "*" not in disabled:
        for row in rows:
            if row.name not in disabled:
                result.append(replaced.pop(row.name, Use(row.name, row.weight)))
    added = [use for use in enabled if use.name in replaced or use not in result]
    return result + added


def _expanded(
    multi: Sequence[Use],
    own: Sequence[Use],
    disabled: frozenset[str],
    point: str,
    kind: str,
    rows: Mapping[str, PluginRow],
) -> Iterator[Use]:
    """First what overrides `multiPoint`, then `multiPoint`, then what only this point has."""
    names = {use.name for use in own}
    inherited: list[Use] = []
    overriding = set()
    for use in multi:
        row = rows.get(use.name)
        if row is None:
            raise LookupError(f'{kind} "{use.name}" does not exist')
        if point not in row.points or "*" in disabled or use.name in disabled:
            continue
        if use.name in names:
            overriding.add(use.name)
        elif any(other.name == use.name for other in inherited):
            raise LookupError(f'plugin "{use.name}" already registered as "{kind}"')
        else:
            inherited.append(use)
    yield from (_weighted(use, point) for use in own if use.name in overriding)
    yield from (_weighted(use, point) for use in inherited)
    yield from (_weighted(use, point) for use in own if use.name not in overriding)


def _weighted(use: Use, point: str) -> Use:
    # A weight that is not given, or is zero, is one. Source: upstream getValidScoreWeights.
    return Use(use.name, use.weight or 1) if point == "score" else Use(use.name)


def _check_use(use: Use, point: str, kind: str, rows: Mapping[str, PluginRow]) -> None:
    row = rows.get(use.name)
    if row is None:
        raise LookupError(f'{kind} "{use.name}" does not exist')
    if point not in row.points:
        raise LookupError(f'plugin "{use.name}" does not extend {kind} plugin')


def _check_twice(uses: Sequence[Use], kind: str) -> None:
    names = [use.name for use in uses]
    for name in names:
        if names.count(name) > 1:
            raise LookupError(f'plugin "{name}" already registered as "{kind}"')


def _enabled(plugins: Json) -> list[Use]:
    return [Use(plugin.get("name", ""), plugin.get("weight") or 0) for plugin in plugins.get("enabled") or ()]


def _disabled(plugins: Json) -> frozenset[str]:
    return frozenset(plugin.get("name", "") for plugin in plugins.get("disabled") or ())
