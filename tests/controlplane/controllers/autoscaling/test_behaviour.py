"""How far and how fast a target follows what metrics ask for."""

from kobune.api.objects.autoscaling import Behavior, ScalingPolicy, ScalingRules
from kobune.controlplane.controllers.autoscaling.behaviour import (
    DOWN_LIMIT,
    READY,
    STABILIZED_DOWN,
    STABILIZED_UP,
    TOO_FEW,
    TOO_MANY,
    UP_LIMIT,
    WITHIN_RANGE,
    History,
    decide,
)


def rules(*policies, window=0, select="Max"):
    made = [ScalingPolicy(type=kind, value=value, period_seconds=period) for kind, value, period in policies]
    return ScalingRules(stabilization_window_seconds=window, select_policy=select, policies=made)


FAST = rules(("Percent", 10_000, 15))


def settle(history, behavior, *, current, wanted, now=0.0, least=1, most=100):
    return decide(history, behavior, current=current, wanted=wanted, least=least, most=most, now=now)


def test_without_a_behaviour_growth_is_to_double_or_four():
    assert settle(History(), None, current=1, wanted=10)[0] == 4
    doubled = settle(History(), None, current=10, wanted=50)
    assert (doubled.replicas, doubled.limited, doubled.limit) == (20, True, UP_LIMIT)


def test_the_bounds_hold():
    above = settle(History(), None, current=4, wanted=9, most=7)
    assert (above.replicas, above.limit) == (7, TOO_MANY)
    below = settle(History(), None, current=4, wanted=1, least=2)
    assert (below.replicas, below.limit) == (2, TOO_FEW)


def test_a_shrinking_target_waits_five_minutes_for_the_highest_wish_to_pass():
    history = History()
    settle(history, None, current=10, wanted=10, now=0)
    held = settle(history, None, current=10, wanted=2, now=200)
    assert (held.replicas, held.able) == (10, STABILIZED_DOWN)
    free = settle(history, None, current=10, wanted=2, now=301)
    assert (free.replicas, free.able, free.limit) == (2, READY, WITHIN_RANGE)


def test_policies_allow_so_many_pods_in_so_many_seconds():
    behavior = Behavior(scale_up=rules(("Pods", 4, 60)), scale_down=rules(("Pods", 2, 60)))
    history = History()
    first = settle(history, behavior, current=10, wanted=30, now=0)
    assert (first.replicas, first.limit) == (14, UP_LIMIT)
    history.did(10, 14, 0, behavior)
    assert settle(history, behavior, current=14, wanted=30, now=30).replicas == 14
    assert settle(history, behavior, current=14, wanted=30, now=61).replicas == 18


def test_shrinking_policies_count_in_the_same_way():
    behavior = Behavior(scale_up=FAST, scale_down=rules(("Percent", 50, 60)))
    history = History()
    first = settle(history, behavior, current=10, wanted=1, now=0)
    assert (first.replicas, first.limit) == (5, DOWN_LIMIT)
    history.did(10, 5, 0, behavior)
    assert settle(history, behavior, current=5, wanted=1, now=30).replicas == 5
    assert settle(history, behavior, current=5, wanted=1, now=61).replicas == 2


def test_the_selected_policy_is_the_boldest_the_mildest_or_none():
    several = (("Pods", 4, 60), ("Percent", 100, 60))
    for select, expected in (("Max", 20), ("Min", 14), ("Disabled", 10)):
        behavior = Behavior(scale_up=rules(*several, select=select), scale_down=FAST)
        assert settle(History(), behavior, current=10, wanted=50).replicas == expected


def test_a_growing_target_waits_for_its_window_too():
    behavior = Behavior(scale_up=rules(("Percent", 1000, 15), window=60), scale_down=FAST)
    history = History()
    settle(history, behavior, current=2, wanted=2, now=0)
    held = settle(history, behavior, current=2, wanted=8, now=30)
    assert (held.replicas, held.able) == (2, STABILIZED_UP)
    assert settle(history, behavior, current=2, wanted=8, now=61).replicas == 8
