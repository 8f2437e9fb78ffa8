"""Encryption at rest: what is stored, which keys open it, how keys are replaced, what is refused."""

import base64

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kobune.api.catalogue import KINDS
from kobune.api.errors import Invalid, Json
from kobune.controlplane.store.contract import Damaged
from kobune.controlplane.store.encrypted import EncryptedStore
from kobune.controlplane.store.encryption import load_encryption
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.sealing import AesCbc, AesGcm, Provider
from kobune.controlplane.store.secretbox import Secretbox

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
    cipher = AesGcm(bytes(range(32)), lambda count: bytes(range(count)))
    sealed = Provider(b"k8s:enc:aesgcm:v1:one:", cipher).seal(SECRET.encode(), b"hello")
    assert sealed[:22] == b"k8s:enc:aesgcm:v1:one:"
    assert sealed[22:34] == bytes(range(12))
    assert AESGCM(bytes(range(32))).decrypt(sealed[22:34], sealed[34:], SECRET.encode()) == b"hello"


def test_secretbox_is_nacls() -> None:
    # Source: the examples of Cryptography in NaCl.
    secret = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    value = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129"
        "6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
        "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
    )
    sealed = bytes.fromhex(
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a"
        "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae"
        "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
    )
    assert Secretbox(secret, lambda count: nonce[:count]).seal(b"", value) == nonce + sealed
    assert Secretbox(secret).open(b"", nonce + sealed) == value


@pytest.mark.parametrize("cipher", [AesGcm, AesCbc, Secretbox])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 31, 32, 33, 96, 5000])
def test_what_was_sealed_can_be_opened_and_what_is_too_short_or_of_another_key_cannot(cipher, size) -> None:
    value, one, other = bytes(number % 256 for number in range(size)), cipher(b"1" * 32), cipher(b"2" * 32)
    sealed = one.seal(b"/a", value)
    assert one.open(b"/a", sealed) == value
    for broken in (sealed[:15], sealed[:20], b""):
        with pytest.raises(InvalidTag):
            one.open(b"/a", broken)
    if cipher is not AesCbc:  # It may take what another key makes of a value for its own.
        with pytest.raises(InvalidTag):
            other.open(b"/a", sealed)


@pytest.mark.parametrize("kind", ["aesgcm", "aescbc", "secretbox"])
async def test_each_provider_seals_under_its_own_name(kind: str) -> None:
    inner = MemoryStore()
    store = opened(inner, secrets({kind: {"keys": [key("a")]}}, {"identity": {}}))
    await store.write(SECRET, b"password", expected=0)
    assert (await stored(inner)).startswith(b"k8s:enc:%s:v1:a:" % kind.encode())
    assert (await store.read(SECRET)).value == b"password"
    other = opened(inner, secrets(aesgcm(key("new")), {kind: {"keys": [key("a")]}}))
    assert await other.seal_anew() == 1
    assert (await stored(inner)).startswith(b"k8s:enc:aesgcm:v1:new:")


async def test_of_two_keys_of_one_name_either_opens() -> None:
    inner = MemoryStore()
    old, new = key("old"), key("new")
    await opened(inner, secrets(aesgcm(old))).write(SECRET, b"password", expected=0)
    both = opened(inner, secrets(aesgcm({**new, "name": "old"}, old)))
    assert (await both.read(SECRET)).value == b"password"


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
        (config((["secrets", "secrets"], [{"identity": {}}])), '["secrets","secrets"]: the same resource cannot be'),
        (config((["secrets", "*."], [{"identity": {}}])), "using overlapping resources such as 'secrets' and '*.'"),
        (config((["events.events.k8s.io"], [{"identity": {}}])), "Use 'events' instead in the config file"),
        (config((["ingresses.extensions"], [{"identity": {}}])), "'extensions' group has been removed"),
        (config((["serviceipallocations"], [{"identity": {}}])), "resources which do not have REST API/s"),
        (config(([], [{"identity": {}}])), "at least one resources[0].resources is required"),
        (secrets(), "at least one resources[0].providers is required"),
        (secrets({"identity": {}, "aesgcm": {}}), "more than one provider specified in a single element"),
        (secrets({}), "provider does not contain any of the expected providers"),
        (secrets({"kms": {}}), "use aesgcm, secretbox, aescbc or identity"),
        (secrets(aesgcm()), "at least one keys is required"),
        (secrets(aesgcm({"name": "a", "secret": "%%%"})), "secrets must be base64 encoded"),
        (secrets(aesgcm({"name": "a", "secret": "YWJj"})), "got 3, expected one of [16 24 32]"),
        (secrets({"secretbox": {"keys": [{"name": "a", "secret": "YWJj"}]}}), "got 3, expected one of [32]"),
        (secrets(aesgcm({"secret": key("a")["secret"]})), "name is a mandatory field for a key"),
    ],
)
def test_a_faulty_configuration_is_refused(configuration: Json, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        load_encryption(configuration, KINDS)
    assert message in str(caught.value)
