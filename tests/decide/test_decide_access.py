"""Roles: who holds which, and what each includes."""

import pytest

from atoll.decide.access import covers, ending, refusal, role_of
from atoll.model.access import ROLES, Access, Credentials, Role
from atoll.model.wire_access import TokenView

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


DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("lasts_d", "now_d", "text"),
    [
        (90.0, 75.0, None),
        (90.0, 77.0, "13 days left; then it opens nothing any more"),
        (8.0, 5.0, None),  # of a short one only the last quarter
        (8.0, 7.0, "24 hours left; then it opens nothing any more"),
        (90.0, 100.0, "ended 10 days ago, and opens nothing any more"),
    ],
)
def test_the_end_of_a_token_is_told_before_and_after(lasts_d: float, now_d: float, text: str | None) -> None:
    token = TokenView(name="grafana", made_wall=0.0, by="ada", ends_wall=lasts_d * DAY_S)
    views = list(ending([token], now_d * DAY_S))
    assert [view.text for view in views] == ([text] if text else [])
    assert all(view.ok is None and "atoll access token grafana" in view.fix for view in views)


def test_tokens_without_an_end_are_one_note() -> None:
    (view,) = ending([TokenView(name=name, made_wall=0.0, by="ada") for name in ("a", "b")], DAY_S)
    assert view.text.startswith("a, b: no end")
