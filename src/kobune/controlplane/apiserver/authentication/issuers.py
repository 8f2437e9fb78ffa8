"""What an AuthenticationConfiguration, or the --oidc flags, say of the issuers whose tokens are believed.

Source: upstream apiserver, pkg/apis/apiserver (v1 AuthenticationConfiguration), and kube-apiserver's --oidc flags.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kobune.api.errors import Json

VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1")


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where a part of the user comes from: a claim with a prefix, or an expression over `claims`."""

    claim: str = ""
    prefix: str = ""
    expression: str = ""

    def __bool__(self) -> bool:
        return bool(self.claim or self.expression)


@dataclass(frozen=True, slots=True)
class Rule:
    """An expression that must be true, and what is said when it is not."""

    expression: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Issuer:
    """`authority` is PEM, "" for what the machine trusts; `discovery_url` is asked in the place of the issuer's own."""

    url: str
    audiences: Sequence[str]
    username: Mapped
    groups: Mapped = Mapped()
    uid: Mapped = Mapped()
    extra: Mapping[str, str] = field(default_factory=dict)  # Expressions by key.
    required: Mapping[str, str] = field(default_factory=dict)  # Claims and their values.
    claim_rules: Sequence[Rule] = ()
    user_rules: Sequence[Rule] = ()
    authority: str = ""
    discovery_url: str = ""
    algorithms: Sequence[str] = ()  # () are all that there are.


def issuers_of(configuration: Json) -> list[Issuer]:
    """The issuers of an AuthenticationConfiguration. Raises ValueError, saying what is wrong."""
    if configuration.get("apiVersion") not in VERSIONS or configuration.get("kind") != "AuthenticationConfiguration":
        raise ValueError(f"not an AuthenticationConfiguration of {' or '.join(VERSIONS)}")
    found = [_issuer(one, f"jwt[{index}]") for index, one in enumerate(configuration.get("jwt") or ())]
    urls = [one.url for one in found]
    if len(set(urls)) != len(urls):
        raise ValueError("jwt: two issuers have the same url")
    return found


def anonymous_paths(configuration: Json) -> frozenset[str] | None:
    """What nobody in particular may ask: these paths, and None for all. Without a word of it, or switched off, nothing.

    Raises:
        ValueError: conditions for what is switched off.
    """
    given = configuration.get("anonymous") or {}
    conditions = given.get("conditions") or ()
    if not given.get("enabled"):
        if conditions:
            raise ValueError("anonymous.conditions: enabled should be set to true when conditions are defined")
        return frozenset()
    return frozenset(one["path"] for one in conditions) or None


def flag_issuer(
    url: str, client_id: str, *, username_claim: str, username_prefix: str | None, groups_claim: str, groups_prefix: str,
    required: Mapping[str, str], algorithms: Sequence[str], authority: str,
) -> Issuer:  # fmt: skip
    """The issuer of the --oidc flags; without a prefix, names that are no e-mail addresses have the issuer before them."""
    if not url.startswith("https://"):
        raise ValueError(f"--oidc-issuer-url {url}: must use the https scheme")
    if not client_id:
        raise ValueError("--oidc-client-id is missing beside --oidc-issuer-url")
    prefix = username_prefix
    if prefix is None or prefix == "":
        prefix = "" if username_claim == "email" else f"{url}#"
    return Issuer(
        url, (client_id,), Mapped(username_claim, "" if prefix == "-" else prefix),
        Mapped(groups_claim, groups_prefix if groups_claim else ""), required=required, authority=authority,
        algorithms=tuple(algorithms),
    )  # fmt: skip


def _issuer(given: Json, path: str) -> Issuer:
    issuer, mappings = given.get("issuer") or {}, given.get("claimMappings") or {}
    url, audiences = issuer.get("url") or "", issuer.get("audiences") or ()
    if not url.startswith("https://"):
        raise ValueError(f"{path}.issuer.url {url!r}: must use the https scheme")
    if not audiences:
        raise ValueError(f"{path}.issuer.audiences: at least one is required")
    policy = issuer.get("audienceMatchPolicy") or ""
    if policy not in ("", "MatchAny") or (len(audiences) > 1 and not policy):
        raise ValueError(
            f"{path}.issuer.audienceMatchPolicy: must be MatchAny for multiple audiences, else it may be empty"
        )
    username = _mapped(mappings.get("username") or {}, f"{path}.claimMappings.username")
    if not username:
        raise ValueError(f"{path}.claimMappings.username: claim or expression is required")
    rules = given.get("claimValidationRules") or ()
    return Issuer(
        url,
        tuple(audiences),
        username,
        _mapped(mappings.get("groups") or {}, f"{path}.claimMappings.groups"),
        _mapped(mappings.get("uid") or {}, f"{path}.claimMappings.uid"),
        {one["key"]: one["valueExpression"] for one in mappings.get("extra") or ()},
        {one["claim"]: one.get("requiredValue", "") for one in rules if one.get("claim")},
        [Rule(one["expression"], one.get("message", "")) for one in rules if one.get("expression")],
        [Rule(one["expression"], one.get("message", "")) for one in given.get("userValidationRules") or ()],
        issuer.get("certificateAuthority") or "",
        issuer.get("discoveryURL") or "",
    )


def _mapped(given: Json, path: str) -> Mapped:
    if given.get("claim") and given.get("expression"):
        raise ValueError(f"{path}: claim and expression exclude each other")
    return Mapped(given.get("claim") or "", given.get("prefix") or "", given.get("expression") or "")
