"""Requests beyond a bucket's tokens are refused until tokens have come back."""

import pytest

from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.request import Caller
from kobune.aks.arm.throttling import MOST_BUCKETS, OTHERS, PUT_CLUSTER, READS, Throttle
from kobune.api.clock import SystemClock

CLUSTER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
LEFT = "x-ms-ratelimit-remaining-subscription-reads"
ALICE, BOB = Caller("alice"), Caller("bob")


class SetClock(SystemClock):
    """Stands still until it is set."""

    time = 0.0

    def monotonic(self) -> float:
        return self.time


def refused(throttle, method, path, caller=ALICE):
    with pytest.raises(ArmError) as error:
        throttle.admit(method, path, caller, "s")
    assert error.value.status == 429
    return error.value


def test_answers_say_how_many_requests_are_left_to_the_caller():
    throttle = Throttle(SetClock(), 1)
    assert throttle.admit("GET", "/subscriptions", ALICE, "s") == {LEFT: str(READS.size - 1)}
    assert throttle.admit("GET", "/subscriptions", ALICE, "s") == {LEFT: str(READS.size - 2)}
    assert throttle.admit("GET", "/subscriptions", BOB, "s") == {LEFT: str(READS.size - 1)}
    assert "x-ms-ratelimit-remaining-subscription-writes" in throttle.admit("PUT", CLUSTER, ALICE, "s")


def test_an_empty_bucket_fills_again_at_its_pace():
    clock = SetClock()
    throttle = Throttle(clock, 1)
    for _ in range(PUT_CLUSTER.size):
        throttle.admit("PUT", CLUSTER, ALICE, "s")
    error = refused(throttle, "PUT", CLUSTER)
    assert (error.code, error.headers["Retry-After"]) == ("Throttled", "60")
    throttle.admit("PUT", CLUSTER.replace("/c", "/d"), ALICE, "s")  # Each cluster has a bucket of its own.
    clock.time = 60.0
    throttle.admit("PUT", CLUSTER, ALICE, "s")
    refused(throttle, "PUT", CLUSTER)


def test_arm_refuses_one_caller_in_its_own_words():
    throttle = Throttle(SetClock(), 1)
    for _ in range(READS.size):
        throttle.admit("GET", "/subscriptions", ALICE, "s")
    error = refused(throttle, "GET", "/subscriptions")
    assert error.code == "SubscriptionRequestsThrottled"
    assert "actor 'alice' exceeded" in str(error)
    throttle.admit("GET", "/subscriptions", BOB, "s")


def test_the_factor_widens_the_limits_and_zero_lifts_them():
    wide, none = Throttle(SetClock(), 3), Throttle(SetClock(), 0)
    path = f"{CLUSTER}/upgradeProfiles/default"
    for _ in range(3 * OTHERS.size):
        wide.admit("GET", path, ALICE, "s")
        assert none.admit("GET", path, ALICE, "s") == {}
    refused(wide, "GET", path)


def test_buckets_do_not_grow_without_bound():
    throttle = Throttle(SetClock(), 1)
    for number in range(MOST_BUCKETS + 100):
        throttle.admit("GET", "/subscriptions", Caller(str(number)), "s")
    assert len(throttle._buckets) <= MOST_BUCKETS
