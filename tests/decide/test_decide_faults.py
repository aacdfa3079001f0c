"""Injected faults: in force for their time, on their boot, and refused where nobody allowed them."""

import pytest

from atoll.decide.faults import LONGEST_S, check, in_force, next_end_s
from atoll.model.errors import Refused, UserError
from atoll.model.state import Fault, Now


def fault(until_s: float = 130.0, boot: str = "b1", percent: int = 100) -> Fault:
    return Fault(id="f", kind="abort", boot_id=boot, until_s=until_s, status=503, percent=percent)


def now(at_s: float = 100.0) -> Now:
    return Now(boot_id="b1", boot_s=at_s, wall=0.0)


def test_a_fault_is_in_force_until_its_time_and_never_after_a_reboot() -> None:
    assert in_force([fault()], now(129.9)) == (fault(),)
    assert in_force([fault()], now(130.0)) == ()
    assert in_force([fault(boot="b0")], now()) == ()


def test_the_loop_is_woken_for_the_first_that_ends() -> None:
    assert next_end_s([fault(150.0), fault(120.0), fault(90.0)], now()) == 120.0
    assert next_end_s([], now()) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, LONGEST_S + 1])
def test_a_fault_that_does_not_end_soon_is_refused(seconds: float) -> None:
    with pytest.raises(UserError, match="cannot last"):
        check(fault(), seconds, allowed=True, environment="local")


def test_where_people_depend_on_it_faults_must_be_allowed_by_the_file() -> None:
    with pytest.raises(Refused, match="not injected into 'production'"):
        check(fault(), 30.0, allowed=False, environment="production")
    check(fault(), 30.0, allowed=True, environment="production")
