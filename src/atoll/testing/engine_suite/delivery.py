"""How traffic moves from one release to another, while requests keep coming."""

import threading
import time
from collections.abc import Callable

from atoll.cli.drafts import new_key
from atoll.model.wire import RestartRequest, RollbackRequest, SteerRequest
from atoll.model.wire_operations import OperationView
from atoll.testing.engine_suite.capabilities import shows
from atoll.testing.engine_suite.lab import Lab

DEPLOYS = 10
RATE = 300
SHARE_PCT = 10
SAMPLE = 4000  # a share of 10 % then has a deviation of half a point: 2 points are four of them
WITHIN_PCT = 2.0
PATIENT = f"""
[rollout]
steps = [{{ weight = "{SHARE_PCT}%", hold = "10m" }}]
"""


def at_its_step(lab: Lab, service: str) -> OperationView | None:
    """The rollout under way, once its traffic has moved."""
    view = lab.client.why(service).rollout
    return view if view and view.stepping and view.phase == "stepping" and view.stepping.stage == "watching" else None


class Delivery:
    """Part of `EngineSuite`."""

    @shows("drain")
    def test_a_request_in_flight_finishes_at_the_old_release(self, lab: Lab) -> None:
        text = 'stop = { drain = "20s", grace = "5s" }\nrollout.bake = "0s"'
        lab.service("accounts", text)
        lab.up("accounts")
        answers: list[str] = []
        slow = threading.Thread(target=lambda: answers.append(lab.get("/accounts/slow?s=3").version))
        slow.start()
        time.sleep(0.5)  # it is in flight
        lab.service("accounts", text, env={"VERSION": "v2"})
        assert lab.deploy("accounts").good
        slow.join(timeout=60)
        assert answers == ["v1"]
        assert lab.get("/accounts/x").version == "v2"

    @shows("deploy")
    def test_deploys_and_restarts_under_load_fail_no_request(self, lab: Lab) -> None:
        lab.service("profiles", "replicas = 2")
        lab.up("profiles")
        with lab.steady("/profiles/a", "/profiles/b", rate=100) as load:
            for version in ("v2", "v3"):
                lab.service("profiles", "replicas = 2", env={"VERSION": version})
                operation = lab.deploy("profiles")
                assert operation.good, operation
                assert operation.receipt is not None
                assert operation.receipt.touched == ()
                assert lab.get("/profiles/x").version == version
            assert lab.ended(lab.client.restart("profiles", RestartRequest(key=new_key()))).good
        assert load.failures == []
        assert set(load.versions) == {"v1", "v2", "v3"}

    @shows("deploy", long=True)
    def test_ten_deploys_at_300_requests_a_second_fail_none(
        self, lab: Lab, record_property: Callable[[str, object], None]
    ) -> None:
        text, many = "replicas = 2", lab.platform.many_requests
        lab.service("fairs", text, env={"VERSION": "v0"})
        lab.up("fairs")
        with lab.steady("/fairs/a", "/fairs/b", rate=RATE) as load:
            for n in range(1, DEPLOYS + 1):
                lab.service("fairs", text, env={"VERSION": f"v{n}"})
                assert lab.deploy("fairs").good
                while load.sent < n * many / DEPLOYS:
                    time.sleep(0.05)
        told = f"{len(load.failures)} failed of {load.sent} requests over {DEPLOYS} deploys at {RATE} a second"
        record_property(lab.platform.name, told)
        assert load.failures == []
        assert load.sent >= many
        assert set(load.versions) == {f"v{n}" for n in range(DEPLOYS + 1)}

    @shows("deploy")
    def test_releases_that_may_not_overlap_never_do_and_requests_wait(self, lab: Lab) -> None:
        lab.service("sessions", "overlap = false")
        lab.up("sessions")
        lab.service("sessions", "overlap = false", env={"VERSION": "v2"})
        with lab.steady("/sessions/a", rate=20) as load:
            assert lab.deploy("sessions").good
        assert load.failures == []
        starts = [event for event in lab.events("sessions") if event.kind in {"replica.started", "replica.stopped"}]
        assert [event.kind for event in starts][:3] == ["replica.started", "replica.stopped", "replica.started"]

    @shows("canary")
    def test_a_canary_gets_its_share_of_the_requests_within_two_points(self, lab: Lab) -> None:
        lab.service("logins", PATIENT)
        lab.up("logins")
        lab.service("logins", PATIENT, env={"VERSION": "v2"})
        lab.begin("logins")
        lab.until(lambda: at_its_step(lab, "logins"), what="the canary has its share")
        counts = [0] * 4

        def ask(slot: int) -> None:
            for _ in range(SAMPLE // len(counts)):
                counts[slot] += lab.get("/logins/x").version == "v2"

        askers = [threading.Thread(target=ask, args=(slot,)) for slot in range(len(counts))]
        for each in askers:
            each.start()
        for each in askers:
            each.join()
        assert abs(100 * sum(counts) / SAMPLE - SHARE_PCT) <= WITHIN_PCT, counts
        lab.client.steer("logins", SteerRequest(word="promote", key=new_key()))
        lab.until(lambda: lab.of("logins").release == "r2" and lab.of("logins").state == "up", what="it has all of it")
        assert lab.get("/logins/x").version == "v2"

    @shows("canary")
    def test_who_asks_by_header_gets_the_candidate_and_nobody_else_does(self, lab: Lab) -> None:
        asked = '[rollout]\nsteps = [{ header = "x-canary: yes", hold = "0s", approve = true }]'
        lab.service("tokens", asked)
        lab.up("tokens")
        lab.service("tokens", asked, env={"VERSION": "v2"})
        lab.begin("tokens")
        lab.until(lambda: lab.get("/tokens/x", {"x-canary": "yes"}).version == "v2", what="it is reached by header")
        assert {lab.get("/tokens/x").version for _ in range(30)} == {"v1"}

    @shows("rollback")
    def test_a_rollback_under_load_fails_no_request(self, lab: Lab) -> None:
        lab.service("search")
        lab.up("search")
        [warm] = lab.replicas("search")
        lab.service("search", env={"VERSION": "v2"})
        assert lab.deploy("search").good
        with lab.steady("/search/a") as load:
            assert lab.ended(lab.client.rollback("search", RollbackRequest(key=new_key()))).good
            assert lab.get("/search/x").version == "v1"
        assert load.failures == []
        assert lab.of("search").release == "r1"
        assert warm in lab.replicas("search"), "the release before is warm: nothing is started"

    @shows("rollback")
    def test_a_rollback_in_the_middle_of_a_canary_fails_no_request(self, lab: Lab) -> None:
        lab.service("index", PATIENT)
        lab.up("index")
        lab.service("index", PATIENT, env={"VERSION": "v2"})
        with lab.steady("/index/a") as load:
            lab.begin("index")
            lab.until(lambda: at_its_step(lab, "index"), what="the canary has its share")
            lab.ended(lab.client.rollback("index", RollbackRequest(key=new_key())))
            lab.until(lambda: lab.of("index").release == "r1" and lab.of("index").state == "up")
        assert load.failures == []
        assert {lab.get("/index/x").version for _ in range(30)} == {"v1"}
