"""The simulation behind the table of verdicts, small: it repeats itself, and what it shows is what the docs promise."""

from bench.verdicts import POLICY, played, rollout, wilson


def test_a_seed_is_a_rollout() -> None:
    assert rollout(3, 10, 0.05, 0.0, 200) == rollout(3, 10, 0.05, 0.0, 200)


def test_a_release_that_is_no_worse_is_rolled_back_no_more_often_than_alpha() -> None:
    ended = played(40, 40, 0.0, 0.0, 150)
    low, _ = wilson(sum(one.convicted_s is not None for one in ended), len(ended))
    assert low <= POLICY.alpha
    assert any(one.passed_s is not None for one in ended)


def test_a_release_that_fails_one_request_in_twenty_leaves_and_fails_less_than_one_percent_of_all() -> None:
    ended = played(20, 100, 0.05, 0.0, 200)
    assert all(one.convicted_s is not None for one in ended)
    assert sorted(one.exposure for one in ended)[10] <= 0.01


def test_a_release_that_is_half_again_as_slow_leaves_before_it_passes() -> None:
    ended = played(10, 100, 0.0, 0.5, 200)
    assert all(one.convicted_s is not None and one.passed_s is None for one in ended)


def test_wilsons_interval_is_known() -> None:
    low, high = wilson(1, 10)
    assert (round(low, 3), round(high, 3)) == (0.018, 0.404)
