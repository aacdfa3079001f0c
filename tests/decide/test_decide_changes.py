"""What the receipt says about the difference of two releases, and what it never says."""

from typing import Any

import msgspec
import pytest

from atoll.decide.changes import changes
from atoll.model.spec import (
    Before,
    Call,
    Command,
    EdgePolicy,
    Health,
    Job,
    Limits,
    Plain,
    Probe,
    RolloutSpec,
    Route,
    SecretRef,
    Store,
)


def between(orders: Any, old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    before = orders.release(6, **old)
    return changes(before, msgspec.structs.replace(orders.release(7, **new), artifact=before.artifact))


def test_a_first_release_is_called_that(orders: Any) -> None:
    assert changes(None, orders.release(7)) == ("first release, artifact 7777aaaa",)


def test_nothing_is_said_of_what_is_equal(orders: Any) -> None:
    assert between(orders, {}, {}) == ()


def test_the_artifact_comes_first(orders: Any) -> None:
    assert changes(orders.release(6), orders.release(7, replicas=2)) == (
        "artifact 6666aaaa -> 7777aaaa",
        "replicas: 1 -> 2",
    )


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ({"env": {"L": Plain("info")}}, {"env": {"L": Plain("warn")}}, "env L: info -> warn"),
        ({}, {"env": {"L": Plain("warn")}}, "env L: not set -> warn"),
        ({"env": {"L": Plain("info")}}, {}, "env L: info -> removed"),
        ({"env": {"DB": Plain("a")}}, {"env": {"DB": SecretRef("orders-db")}}, "env DB: a -> secret orders-db"),
        ({"env": {"DB": SecretRef("a")}}, {"env": {"DB": SecretRef("b")}}, "env DB: secret a -> secret b"),
        ({}, {"run": Command(shell="x {port}")}, "run: orders --port {port} -> x {port}"),
        ({}, {"limits": Limits(memory_bytes=5)}, "limits.memory_bytes: null -> 5"),
        ({}, {"overlap": False}, "overlap: true -> false"),
        ({}, {"routes": (Route(path="/orders"), Route(path="/b"))}, "routes./b.path: not set -> /b"),
    ],
)
def test_each_difference_is_one_sentence(orders: Any, old: Any, new: Any, sentence: str) -> None:
    assert sentence in between(orders, old, new)


def test_a_policy_is_told_by_its_callee(orders: Any) -> None:
    old = {"calls": (Call(callee="mail"),)}
    new = {"calls": (Call(callee="mail", policy=EdgePolicy(timeout_s=2.0)),)}
    assert between(orders, old, new) == ("calls.mail.policy.timeout_s: 15.0 -> 2.0",)


def test_a_probe_is_told_by_its_field(orders: Any) -> None:
    old, new = Health(ready=Probe(kind="http", path="/a")), Health(ready=Probe(kind="http", path="/b"))
    assert between(orders, {"health": old}, {"health": new}) == ("health.ready.path: /a -> /b",)


def test_secret_versions_are_told(orders: Any) -> None:
    old = msgspec.structs.replace(orders.release(6), secrets={"orders-db": 1})
    new = msgspec.structs.replace(orders.release(6), secrets={"orders-db": 2, "mail": 1})
    assert changes(old, new) == ("secret mail: not set -> v1", "secret orders-db: v1 -> v2")


@pytest.mark.parametrize(
    "name", ["API_TOKEN", "password", "DB_PASSWD", "AWS_SECRET_ACCESS_KEY", "SENTRY_DSN", "SESSION_COOKIE", "apikey"]
)
def test_a_value_that_looks_secret_is_never_shown(orders: Any, name: str) -> None:
    said = between(orders, {"env": {name: Plain("hunter1")}}, {"env": {name: Plain("hunter2")}})
    assert said == (f"env {name}: (hidden) -> (hidden)",)
    old = msgspec.structs.replace(orders.release(6), inherited={name: "hunter1"})
    assert "hunter" not in str(changes(old, msgspec.structs.replace(old, inherited={name: "hunter2"})))


def test_a_password_inside_an_address_is_never_shown(orders: Any) -> None:
    old, new = {"env": {"DB": Plain("pg://ada:hunter1@db/x")}}, {"env": {"DB": Plain("pg://ada:hunter2@db/x")}}
    assert between(orders, old, new) == ("env DB: pg://(hidden)@db/x -> pg://(hidden)@db/x",)
    assert "hunter" not in str(between(orders, {}, {"run": Command(shell="x --db pg://ada:hunter2@db/x")}))
    header = {"health": Health(ready=Probe(kind="http", headers={"Authorization": "Bearer hunter2"}))}
    assert "hunter" not in str(between(orders, {}, header))


def test_a_store_is_told_by_its_url_and_its_variables_without_the_password(orders: Any) -> None:
    def of(host: str) -> dict[str, Any]:
        url = f"pg://ada:hunter1@{host}/x"
        return {"stores": (Store(name="db", url=Plain(url), env={"DB": "{url}"}),), "env": {"DB": Plain(url)}}

    assert between(orders, of("a"), of("b")) == (
        "env DB: pg://(hidden)@a/x -> pg://(hidden)@b/x",
        "stores.db.url.value: pg://(hidden)@a/x -> pg://(hidden)@b/x",
    )


def test_a_part_of_a_secret_is_told_by_its_template(orders: Any) -> None:
    old, new = {"env": {"H": SecretRef("db")}}, {"env": {"H": SecretRef("db", part="{host}")}}
    assert between(orders, old, new) == ("env H: secret db -> {host} of secret db",)


def test_long_values_are_cut(orders: Any) -> None:
    (said,) = between(orders, {}, {"env": {"LONG": Plain("x" * 500)}})
    assert len(said) < 100


def test_jobs_and_what_runs_before_a_release_are_told_by_name(orders: Any) -> None:
    nightly = Job(name="nightly", run=Command(shell="report"), schedule="0 3 * * *", env={"A": Plain("1")})
    later = msgspec.structs.replace(
        nightly, schedule="0 4 * * *", env={"A": Plain("2")}, run=Command(shell="report -v")
    )
    before = RolloutSpec(before=Before(run=Command(shell="./migrate")))
    old = {"jobs": (nightly, Job(name="sweep", run=Command(shell="sweep")))}
    assert between(orders, old, {"jobs": (later,), "rollout": before}) == (
        "before added: ./migrate",
        "job nightly: report -> report -v",
        "job nightly env A: 1 -> 2",
        "job nightly schedule: 0 3 * * * -> 0 4 * * *",
        "job sweep removed: sweep",
    )
