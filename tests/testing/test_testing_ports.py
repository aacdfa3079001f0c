"""Each lab has ports of its own, and none that somebody else listens at."""

import socket

from atoll.testing.engine_suite.lab import ports


def test_two_labs_have_different_ranges() -> None:
    with ports() as (one, first), ports() as (other, second):
        assert one != other
        assert abs(first - second) >= 500


def test_a_range_in_which_a_run_that_was_killed_left_something_is_passed_over() -> None:
    with ports() as (_, first):
        left = socket.create_server(("127.0.0.1", first))
    with left, ports() as (_, second):
        assert second != first
