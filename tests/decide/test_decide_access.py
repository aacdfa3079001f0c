"""Roles: who holds which, and what each includes."""

import pytest

from atoll.decide.access import covers, refusal, role_of
from atoll.model.access import ROLES, Access, Credentials, Role

OWNER, SOMEBODY = 901, 1000
MEMBERS: dict[Role, frozenset[int]] = {
    "reader": frozenset({10}),
    "deployer": frozenset({20, 21}),
    "admin": frozenset({30}),
}


@pytest.mark.parametrize(
    ("uid", "gids", "role"),
    [
        (SOMEBODY, {10}, "reader"),
        (SOMEBODY, {5, 21}, "deployer"),
        (SOMEBODY, {10, 20, 30}, "admin"),  # the highest
        (SOMEBODY, {5}, None),
        (SOMEBODY, {0}, None),  # the group root is no role
        (SOMEBODY, set(), None),
        (0, set(), "admin"),
        (OWNER, set(), "admin"),
    ],
)
def test_a_role_is_the_highest_of_ones_groups(uid: int, gids: set[int], role: Role | None) -> None:
    assert role_of(Credentials(uid, frozenset(gids)), OWNER, MEMBERS) == role


def test_where_no_group_holds_a_role_only_owner_and_root_have_one() -> None:
    everything = frozenset(range(1000))
    assert role_of(Credentials(SOMEBODY, everything), OWNER, {}) is None
    assert role_of(Credentials(SOMEBODY, everything), OWNER, dict.fromkeys(ROLES, frozenset())) is None


def test_a_role_includes_those_before_it() -> None:
    table = {role: [needed for needed in ROLES if covers(role, needed)] for role in (None, *ROLES)}
    assert table == {
        None: [],
        "reader": ["reader"],
        "deployer": ["reader", "deployer"],
        "admin": ["reader", "deployer", "admin"],
    }


def test_a_refusal_says_what_it_takes_and_whom_to_ask() -> None:
    access = Access(readers=("staff",), deployers=("ops",), admins=("wheel",))
    error = refusal("carol", "reader", "deployer", "run_job", access)
    assert error.what == "carol may not run jobs here"
    assert error.why == "it takes the role deployer; carol is a reader"
    assert "ops or wheel" in error.fix
    assert "staff" not in error.fix
    assert error.exit_code == 4
