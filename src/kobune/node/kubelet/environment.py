"""A container's environment: envFrom, env with its sources, $(VAR) expansion, and variables for services."""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kobune.api.objects.core import ConfigMap, Secret, Service
from kobune.node.kubelet.fields import Place, UnknownField, field_value, resource_value
from kobune.node.kubelet.pod import Container, EnvVar, KeySelector, Pod

_REFERENCE = re.compile(r"\$(\$|\([^)]*\))")


class ConfigError(Exception):
    """The container cannot be configured (CreateContainerConfigError); the message is upstream's."""


class Data(NamedTuple):
    """The ConfigMaps and Secrets a pod names, as far as they exist."""

    config_maps: Mapping[str, ConfigMap | None]
    secrets: Mapping[str, Secret | None]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by its value, `$$` by `$`; a name without a value stays as it is written."""

    def value(match: re.Match[str]) -> str:
        inside = match[1]
        return "$" if inside == "$" else variables.get(inside[1:-1], match[0])

    return _REFERENCE.sub(value, text) if "$" in text else text


def make_environment(
    pod: Pod, container: Container, data: Data, services: Mapping[str, str], place: Place
) -> dict[str, str]:
    """Names and values in the order upstream gives them; services' variables yield to the container's own.

    Raises:
        ConfigError: a source that is not optional is missing.
    """
    result = _env_from(pod, container, data)
    known = {**services, **result}
    for variable in container.env:
        value = _value(pod, container, variable, data, known, place)
        if value is not None:
            result[variable.name] = known[variable.name] = value
    for name, value in services.items():
        result.setdefault(name, value)
    return result


def _env_from(pod: Pod, container: Container, data: Data) -> dict[str, str]:
    result: dict[str, str] = {}
    for source in container.env_from:
        if source.config_map_ref is not None:
            config_map = data.config_maps.get(source.config_map_ref.name)
            if config_map is None and not source.config_map_ref.optional:
                raise ConfigError(f'configmap "{source.config_map_ref.name}" not found')
            result |= {source.prefix + key: value for key, value in (config_map.data if config_map else {}).items()}
        elif source.secret_ref is not None:
            secret = data.secrets.get(source.secret_ref.name)
            if secret is None and not source.secret_ref.optional:
                raise ConfigError(f'secret "{source.secret_ref.name}" not found')
            for key, value in (secret.data if secret else {}).items():
                result[source.prefix + key] = _decoded(value)
    return result


def _value(
    pod: Pod, container: Container, variable: EnvVar, data: Data, known: Mapping[str, str], place: Place
) -> str | None:
    """The variable's value; None when an optional source does not have it."""
    source = variable.value_from
    if source is None:
        return expand(variable.value, known)
    try:
        if source.field_ref is not None:
            return field_value(pod, source.field_ref.field_path, place)
        if source.resource_field_ref is not None:
            return resource_value(pod, source.resource_field_ref, place, container=container.name)
    except UnknownField as error:
        raise ConfigError(str(error)) from error
    if source.config_map_key_ref is not None:
        chosen = source.config_map_key_ref
        config_map = data.config_maps.get(chosen.name)
        return _chosen(pod, chosen, config_map.data if config_map else None, "configmap", "ConfigMap")
    if source.secret_key_ref is not None:
        chosen = source.secret_key_ref
        secret = data.secrets.get(chosen.name)
        value = _chosen(pod, chosen, secret.data if secret else None, "secret", "Secret")
        return None if value is None else _decoded(value)
    return ""


def _chosen(pod: Pod, chosen: KeySelector, values: Mapping[str, str] | None, lower: str, kind: str) -> str | None:
    if values is not None and chosen.key in values:
        return values[chosen.key]
    if chosen.optional:
        return None
    if values is None:
        raise ConfigError(f'{lower} "{chosen.name}" not found')
    raise ConfigError(f"couldn't find key {chosen.key} in {kind} {pod.namespace}/{chosen.name}")


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode(errors="replace")


class Named(NamedTuple):
    config_maps: frozenset[str]
    secrets: frozenset[str]


def environment_sources(containers: Iterable[Container]) -> Named:
    """The ConfigMaps and Secrets that the containers' environments name."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for container in containers:
        for source in container.env_from:
            if source.config_map_ref is not None:
                config_maps.add(source.config_map_ref.name)
            if source.secret_ref is not None:
                secrets.add(source.secret_ref.name)
        for variable in container.env:
            origin = variable.value_from
            if origin is not None and origin.config_map_key_ref is not None:
                config_maps.add(origin.config_map_key_ref.name)
            if origin is not None and origin.secret_key_ref is not None:
                secrets.add(origin.secret_key_ref.name)
    return Named(frozenset(config_maps), frozenset(secrets))


def service_environment(services: Iterable[Service], namespace: str, *, links: bool) -> dict[str, str]:
    """Docker-link style variables for the services a pod of `namespace` sees.

    Args:
        links: enableServiceLinks; without it only the `kubernetes` service of the default namespace shows.
    Source: upstream pkg/kubelet/envvars.
    """
    seen: dict[str, Service] = {}
    for service in services:
        if service.spec.cluster_ip in ("", "None"):
            continue
        is_master = service.namespace == "default" and service.name == "kubernetes"
        is_own = service.namespace == namespace and (links or is_master)
        if is_own or (is_master and service.name not in seen):
            seen[service.name] = service
    result: dict[str, str] = {}
    for service in sorted(seen.values(), key=lambda each: each.name):
        result |= _service_variables(service)
    return result


def _service_variables(service: Service) -> dict[str, str]:
    prefix, address = _shouted(service.name), service.spec.cluster_ip
    result: dict[str, str] = {}
    ports = service.spec.ports
    if not ports:
        return result
    result[f"{prefix}_SERVICE_HOST"] = address
    result[f"{prefix}_SERVICE_PORT"] = str(ports[0].port)
    for port in ports:
        if port.name:
            result[f"{prefix}_SERVICE_PORT_{_shouted(port.name)}"] = str(port.port)
    for number, port in enumerate(ports):
        protocol = port.protocol or "TCP"
        url = f"{protocol.lower()}://{_bracketed(address)}:{port.port}"
        if number == 0:
            result[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        result |= {
            link: url,
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(port.port),
            f"{link}_ADDR": address,
        }
    return result


def _shouted(name: str) -> str:
    return name.replace("-", "_").upper()


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
