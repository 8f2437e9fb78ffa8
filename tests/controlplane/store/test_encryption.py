"""Encryption at rest: what is stored, which keys open it, how keys are replaced, what is refused."""

import base64

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kobune.api.catalogue import KINDS
from kobune.api.errors import Invalid, Json
from kobune.controlplane.store.contract import Damaged
from kobune.controlplane.store.encrypted import EncryptedStore
from kobune.controlplane.store.encryption import AesGcm, load_encryption
from kobune.controlplane.store.memory import MemoryStore

SECRET = "/registry/secrets/default/a"


def key(name: str) -> Json:
    return {"name": name, "secret": base64.b64encode(name[:1].encode() * 32).decode()}


def config(*rules: tuple[list[str], list[Json]]) -> Json:
    resources = [{"resources": resources, "providers": providers} for resources, providers in rules]
    return {"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1", "resources": resources}


def secrets(*providers: Json) -> Json:
    return config((["secrets"], list(providers)))


def opened(store: MemoryStore, configuration: Json) -> EncryptedStore:
    return EncryptedStore(store, load_encryption(configuration, KINDS))


def aesgcm(*keys: Json) -> Json:
    return {"aesgcm": {"keys": list(keys)}}


async def stored(store: MemoryStore, key: str = SECRET) -> bytes:
    entry = await store.read(key)
    assert entry is not None
    return entry.value


async def test_only_what_is_configured_is_encrypted() -> None:
    inner = MemoryStore()
    store = opened(inner, secrets(aesgcm(key("a"))))
    await store.write(SECRET, b"password", expected=0)
    await store.write("/registry/configmaps/default/a", b"plain", expected=0)
    assert (await stored(inner)).startswith(b"k8s:enc:aesgcm:v1:a:")
    assert b"password" not in await stored(inner)
    assert await stored(inner, "/registry/configmaps/default/a") == b"plain"
    assert [entry.value for entry in (await store.list("/")).entries] == [b"plain", b"password"]


def test_the_form_is_upstreams() -> None:
    sealed = AesGcm("one", bytes(range(32)), lambda count: bytes(range(count))).seal(SECRET.encode(), b"hello")
    assert sealed[:22] == b"k8s:enc:aesgcm:v1:one:"
    assert sealed[22:34] == bytes(range(12))
    assert AESGCM(bytes(range(32))).decrypt(sealed[22:34], sealed[34:], SECRET.encode()) == b"hello"


async def test_the_same_value_is_never_sealed_alike() -> None:
    inner = MemoryStore()
    store = opened(inner, secrets(aesgcm(key("a"))))
    await store.write(SECRET, b"same", expected=0)
    first = await stored(inner)
    await store.write(SECRET, b"same", expected=1)
    assert await stored(inner) != first


async def test_keys_are_replaced_in_three_steps() -> None:
    inner = MemoryStore()
    await opened(inner, secrets(aesgcm(key("old")))).write(SECRET, b"password", expected=0)
    # The new key can read; the new key writes, and what there is is sealed anew; the old key goes.
    both = opened(inner, secrets(aesgcm(key("new"), key("old"))))
    assert (await both.read(SECRET)).value == b"password"
    assert await both.seal_anew() == 1
    assert await both.seal_anew() == 0
    after = opened(inner, secrets(aesgcm(key("new"))))
    assert (await after.read(SECRET)).value == b"password"
    with pytest.raises(Damaged, match="its encryption key is not configured"):
        await opened(inner, secrets(aesgcm(key("old")))).read(SECRET)


async def test_encryption_can_be_turned_on_and_off() -> None:
    inner = MemoryStore()
    await inner.write(SECRET, b"password", expected=0)
    with pytest.raises(Damaged, match="it is not encrypted"):
        await opened(inner, secrets(aesgcm(key("a")))).read(SECRET)
    turned_on = opened(inner, secrets(aesgcm(key("a")), {"identity": {}}))
    assert (await turned_on.read(SECRET)).value == b"password"
    assert await turned_on.seal_anew() == 1
    assert b"password" not in await stored(inner)
    turned_off = opened(inner, secrets({"identity": {}}, aesgcm(key("a"))))
    assert await turned_off.seal_anew() == 1
    assert await stored(inner) == b"password"


async def test_a_value_changed_or_moved_is_noticed() -> None:
    inner = MemoryStore()
    store = opened(inner, secrets(aesgcm(key("a"))))
    await store.write(SECRET, b"password", expected=0)
    sealed = await stored(inner)
    await inner.write("/registry/secrets/default/b", sealed, expected=0)
    with pytest.raises(Damaged, match="/registry/secrets/default/b cannot be decrypted"):
        await store.read("/registry/secrets/default/b")
    await inner.write(SECRET, sealed[:-1] + bytes([sealed[-1] ^ 1]), expected=1)
    with pytest.raises(Damaged):
        await store.list("/")


@pytest.mark.parametrize(
    ("resources", "path", "encrypted"),
    [
        ("secrets", "/registry/secrets/x/y", True),
        ("secrets", "/registry/configmaps/x/y", False),
        ("services", "/registry/services/specs/x/y", True),
        ("services", "/registry/services/endpoints/x/y", False),
        ("deployments.apps", "/registry/deployments/x/y", True),
        ("*.apps", "/registry/deployments/x/y", True),
        ("*.apps", "/registry/secrets/x/y", False),
        ("*.", "/registry/secrets/x/y", True),
        ("*.", "/registry/deployments/x/y", False),
        ("*.*", "/registry/deployments/x/y", True),
        ("*.*", "/registry/example.com/things/x/y", True),
        ("things.example.com", "/registry/example.com/things/x/y", True),
        ("*.*", "/registry/ranges/serviceips", False),
        ("events", "/registry/events/x/y", True),
    ],
)
async def test_resources_are_named_as_upstream_does(resources: str, path: str, encrypted: bool) -> None:
    inner = MemoryStore()
    store = opened(inner, config(([resources], [aesgcm(key("a"))])))
    await store.write(path, b"value", expected=0)
    assert (await stored(inner, path) != b"value") is encrypted


async def test_the_first_rule_that_names_a_kind_decides() -> None:
    inner = MemoryStore()
    store = opened(inner, config((["configmaps"], [{"identity": {}}]), (["*.*"], [aesgcm(key("a"))])))
    await store.write("/registry/configmaps/x/y", b"value", expected=0)
    await store.write(SECRET, b"value", expected=0)
    assert await stored(inner, "/registry/configmaps/x/y") == b"value"
    assert await stored(inner) != b"value"


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"kind": "Pod"}, "must be EncryptionConfiguration"),
        (config(), "at least one resources is required"),
        (config((["Secrets"], [{"identity": {}}])), "resource name should not contain capital letters"),
        (config((["*"], [{"identity": {}}])), "use '*.' to encrypt all the resources from core API group"),
        (config((["secrets.*"], [{"identity": {}}])), "encrypting the same resource across groups is not supported"),
        (secrets(), "at least one provider is required"),
        (secrets({"identity": {}, "aesgcm": {}}), "more than one provider specified in a single element"),
        (secrets({}), "provider does not contain any of the expected providers"),
        (secrets({"kms": {}}), "use aesgcm or identity"),
        (secrets(aesgcm()), "at least one keys is required"),
        (secrets(aesgcm({"name": "a", "secret": "%%%"})), "secrets must be base64 encoded"),
        (secrets(aesgcm({"name": "a", "secret": "YWJj"})), "got 3, expected one of [16 24 32]"),
        (secrets(aesgcm({"secret": key("a")["secret"]})), "name is a mandatory field for a key"),
    ],
)
def test_a_faulty_configuration_is_refused(configuration: Json, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        load_encryption(configuration, KINDS)
    assert message in str(caught.value)
