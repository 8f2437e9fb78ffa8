"""Feature gates and API versions. Source: upstream featuregate, api_enablement."""

import pytest

from kobune.api.catalogue import builtin
from kobune.api.features import GANG_SCHEDULING, GENERIC_WORKLOAD, parse_gates, parse_runtime_config

BOTH = frozenset({GANG_SCHEDULING, GENERIC_WORKLOAD})


@pytest.mark.parametrize("settings, on", [
    pytest.param([], frozenset(), id="alpha-is-off"),
    pytest.param(["GenericWorkload=true", "GangScheduling=true"], BOTH, id="by-name"),
    pytest.param(["AllAlpha=true"], BOTH, id="all-alpha"),
    pytest.param(["AllAlpha=true", "GangScheduling=false"], frozenset({GENERIC_WORKLOAD}), id="a-name-is-stronger"),
    pytest.param(["AllBeta=true"], frozenset(), id="beta-is-not-alpha"),
])  # fmt: skip
def test_gates_are_on_when_asked_for(settings, on):
    assert parse_gates(settings, "1.36") == on


@pytest.mark.parametrize("setting, version, message", [
    ("Nonsense=true", "1.36", "unrecognized feature gate: Nonsense"),
    ("GenericWorkload=true", "1.35.2", "unrecognized feature gate: GenericWorkload"),
    ("GenericWorkload", "1.36", "missing bool value for GenericWorkload"),
    ("GenericWorkload=on", "1.36", "invalid value of GenericWorkload=on, err: strconv.ParseBool: parsing \"on\": invalid syntax"),
    ("GangScheduling=true", "1.36", "GangScheduling is enabled, but depends on features that are disabled: [GenericWorkload]"),
])  # fmt: skip
def test_what_is_no_gate_is_refused_in_upstreams_words(setting, version, message):
    with pytest.raises(ValueError) as refusal:
        parse_gates([setting], version)
    assert str(refusal.value) == message


@pytest.mark.parametrize("gates, runtime_config, served", [
    pytest.param(BOTH, ["scheduling.k8s.io/v1alpha2=true"], True, id="gate-and-version"),
    pytest.param(BOTH, ["scheduling.k8s.io/v1alpha2"], True, id="a-name-alone-is-true"),
    pytest.param(BOTH, ["api/alpha=true"], True, id="all-of-a-level"),
    pytest.param(BOTH, ["api/all=true", "scheduling.k8s.io/v1alpha2/podgroups=false"], False, id="one-resource-off"),
    pytest.param(BOTH, [], False, id="alpha-versions-are-off"),
    pytest.param(frozenset(), ["scheduling.k8s.io/v1alpha2=true"], False, id="the-gate-is-off"),
])  # fmt: skip
def test_an_alpha_kind_takes_its_gate_and_its_version(gates, runtime_config, served):
    catalogue = builtin("1.36", gates, parse_runtime_config(runtime_config))
    assert (catalogue.find("scheduling.k8s.io", "v1alpha2", "podgroups") is not None) is served
    assert catalogue.find("apps", "v1", "deployments") is not None


def test_versions_that_are_on_can_be_switched_off():
    catalogue = builtin("1.36", runtime_config=parse_runtime_config(["batch/v1/cronjobs=false", "policy/v1=0"]))
    assert catalogue.find("batch", "v1", "cronjobs") is None
    assert catalogue.find("batch", "v1", "jobs") is not None
    assert catalogue.find("policy", "v1", "poddisruptionbudgets") is None
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_runtime_config(["batch/v1=perhaps"])
