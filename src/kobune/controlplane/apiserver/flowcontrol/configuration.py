"""The FlowSchemas and PriorityLevelConfigurations that every cluster has.

Source: upstream apiserver, pkg/apis/flowcontrol/bootstrap. The first two of each are mandatory: their specs are kept.
"""

from collections.abc import Iterator, Sequence

from kobune.api.errors import Json

GROUP = "flowcontrol.apiserver.k8s.io"
AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
MANDATORY = ("exempt", "catch-all")
NODES, SERVICE_ACCOUNTS = ("system:nodes",), ("system:serviceaccounts",)
EVERYBODY = ("system:unauthenticated", "system:authenticated")
MANAGER, SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
ALL = ("*",)

#   level, nominal shares, lendable per cent, queues, hand size
LEVELS: Sequence[tuple[str, int, int, int, int]] = (
    ("catch-all", 5, 0, 0, 0),
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
)
QUEUE_LENGTH = 50


def levels() -> Iterator[Json]:
    """Manifests of the levels."""
    yield _object("exempt", {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})
    for name, shares, lendable, queues, hand in LEVELS:
        response: Json = {"type": "Reject"}
        if queues:
            queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}
            response = {"type": "Queue", "queuing": queuing}
        limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
        yield _object(name, {"type": "Limited", "limited": limited})


def schemas() -> Iterator[Json]:
    """Manifests of the schemas, in the order in which they are tried."""
    everything = [_resources()], [_paths()]
    yield _schema("exempt", "exempt", 1, "", _groups("system:masters"), *everything)
    probes = [_paths(("get",), ("/healthz", "/readyz", "/livez"))]
    yield _schema("probes", "exempt", 2, "", _groups(*EVERYBODY), [], probes)
    leases = _resources(groups=("coordination.k8s.io",), resources=("leases",), cluster=False)
    elected = [{**leases, "verbs": ["get", "create", "update"]}]
    subjects = [*_users(MANAGER, SCHEDULER), _accounts_of("kube-system")]
    yield _schema("system-leader-election", "leader-election", 100, "ByUser", subjects, elected, [])
    health = [_resources(groups=("",), resources=("nodes", "nodes/status")), leases]
    yield _schema("system-node-high", "node-high", 400, "ByUser", _groups(*NODES), health, [])
    yield _schema("system-nodes", "system", 500, "ByUser", _groups(*NODES), *everything)
    yield _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", _users(MANAGER), *everything)
    yield _schema("kube-scheduler", "workload-high", 800, "ByNamespace", _users(SCHEDULER), *everything)
    system = [_accounts_of("kube-system")]
    yield _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", system, *everything)
    yield _schema("service-accounts", "workload-low", 9000, "ByUser", _groups(*SERVICE_ACCOUNTS), *everything)
    yield _schema("global-default", "global-default", 9900, "ByUser", _groups(*EVERYBODY), *everything)
    yield _schema("catch-all", "catch-all", 10000, "ByUser", _groups(*EVERYBODY), *everything)


def _object(name: str, spec: Json) -> Json:
    return {"metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec}


def _schema(
    name: str, level: str, precedence: int, by: str, subjects: list[Json], resources: list[Json], paths: list[Json]
) -> Json:
    rule: Json = {"subjects": subjects}
    rule |= {"resourceRules": resources} if resources else {}
    rule |= {"nonResourceRules": paths} if paths else {}
    spec: Json = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule]}
    if by:
        spec["distinguisherMethod"] = {"type": by}
    return _object(name, spec)


def _groups(*names: str) -> list[Json]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Json]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _accounts_of(namespace: str) -> Json:
    return {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": "*"}}


def _resources(*, groups: Sequence[str] = ALL, resources: Sequence[str] = ALL, cluster: bool = True) -> Json:
    rule: Json = {"verbs": ["*"], "apiGroups": [*groups], "resources": [*resources], "namespaces": ["*"]}
    return {**rule, "clusterScope": True} if cluster else rule


def _paths(verbs: Sequence[str] = ALL, urls: Sequence[str] = ALL) -> Json:
    return {"verbs": [*verbs], "nonResourceURLs": [*urls]}
