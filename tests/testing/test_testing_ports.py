"""Each lab has ports of its own, and none that somebody else listens at."""

import socket

from atoll.testing.ports import free_port, ports


def test_two_labs_have_different_ranges() -> None:
    with ports() as (one, first), ports() as (other, second):
        assert one != other
        assert abs(first - second) >= 500


def test_a_range_in_which_a_run_that_was_killed_left_something_is_passed_over() -> None:
    with ports() as (_, first):
        left = socket.create_server(("127.0.0.1", first))
    with left, ports() as (_, second):
        assert second != first


def test_a_port_of_this_process_lies_in_nobody_elses_range_and_has_nobody() -> None:
    one = free_port()
    with ports() as (_, first), ports() as (_, second), socket.create_server(("127.0.0.2", one)):
        assert not any(own <= one < own + 500 for own in (first, second))
        again = {free_port() for _ in range(499)}  # all others of this process
    assert len(again) > 1
    assert one not in again
