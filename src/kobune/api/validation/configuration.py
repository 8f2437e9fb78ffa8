"""ConfigMaps and Secrets."""

import base64
import binascii

import orjson

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import invalid, required, too_long
from kobune.api.validation.checks import Errors, check_fixed, check_immutable, check_name

MAX_SIZE = 1024 * 1024  # Bytes of all values together.
ACCOUNT_NAME = "kubernetes.io/service-account.name"
DOCKER = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}


def check_config_map(config_map: Json, errors: Errors) -> None:
    data, binary = config_map.get("data") or {}, config_map.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        check_name(names.is_config_key, key, f"data[{key}]", errors)
        if key in binary:
            errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(value) if value.isascii() else len(value.encode())
    for key, value in binary.items():
        check_name(names.is_config_key, key, f"binaryData[{key}]", errors)
        size += _decoded_size(value)
    if size > MAX_SIZE:
        errors.append(too_long("", MAX_SIZE))


def check_config_map_update(new: Json, old: Json, errors: Errors) -> None:
    check_fixed(new, old, ("data", "binaryData"), errors)
    check_config_map(new, errors)


def check_secret(secret: Json, errors: Errors) -> None:
    data = secret.get("data") or {}
    size = 0
    for key, value in data.items():
        check_name(names.is_config_key, key, f"data[{key}]", errors)
        size += _decoded_size(value)
    if size > MAX_SIZE:
        errors.append(too_long("data", MAX_SIZE))
    kind = secret.get("type") or "Opaque"
    match kind:
        case "kubernetes.io/service-account-token":
            if not ((secret.get("metadata") or {}).get("annotations") or {}).get(ACCOUNT_NAME):
                errors.append(required(f"metadata.annotations[{ACCOUNT_NAME}]"))
        case "kubernetes.io/dockercfg" | "kubernetes.io/dockerconfigjson":
            _check_docker(data, DOCKER[kind], errors)
        case "kubernetes.io/basic-auth":
            if "username" not in data and "password" not in data:
                errors.extend((required("data[username]"), required("data[password]")))
        case "kubernetes.io/ssh-auth":
            if not data.get("ssh-privatekey"):
                errors.append(required("data[ssh-privatekey]"))
        case "kubernetes.io/tls":
            errors.extend(required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data)


def check_secret_update(new: Json, old: Json, errors: Errors) -> None:
    check_immutable(new, old, "type", "type", errors)
    check_fixed(new, old, ("data",), errors)
    check_secret(new, errors)


def _check_docker(data: Json, key: str, errors: Errors) -> None:
    if key not in data:
        errors.append(required(f"data[{key}]"))
        return
    try:
        config = orjson.loads(base64.b64decode(data[key]))
    except (binascii.Error, ValueError) as error:
        errors.append(invalid(f"data[{key}]", "<secret contents redacted>", str(error)))
        return
    if config is not None and not isinstance(config, dict):
        detail = "json: cannot unmarshal a value into Go value of type map[string]interface {}"
        errors.append(invalid(f"data[{key}]", "<secret contents redacted>", detail))


def _decoded_size(text: str) -> int:
    return len(text) // 4 * 3 - text[-2:].count("=")
