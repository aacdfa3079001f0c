"""Is a replica ready, and does it live? A judgement of probe results, and the rhythm in which to ask.

`realise.prober` feeds each answer in and asks again at `next_probe_s`. Nothing here probes.
"""

import msgspec
from msgspec.structs import replace

from atoll.model.spec import Health
from atoll.model.state import Now, ReplicaRecord

FIRST_PROBE_S = 0.02  # many services listen within 150 ms: readiness must not be what a deploy waits for
LONGEST_PROBE_S = 0.25  # a JVM takes seconds: then a quarter of one is early enough
GROWTH = 1.3


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes of one replica say so far. Each method returns the next judgement; times are boot seconds."""

    health: Health
    was_ready: bool = False  # ever; before that, liveness is not asked: the start budget covers the start
    ready: bool = False
    ready_since_s: float | None = None
    failing_live: bool = False
    reason: str = ""  # why it is not ready (or does not live), in the probe's words
    reason_id: str = ""
    asked_s: float | None = None  # the last readiness answer
    tries: int = 0  # readiness answers before the first good one
    failed: int = 0  # readiness failures in a row
    failed_live: int = 0  # liveness failures in a row

    @classmethod
    def begin(cls, health: Health, record: ReplicaRecord, now: Now) -> "Judge":
        """The judgement before the first probe.

        A replica that another daemon knew as serving is ready until its probes say otherwise: a restart of the daemon
        must not take anything out of traffic.
        """
        adopted = record.phase in ("serving", "draining")
        since_s = min(record.phase_since_s, now.boot_s) if adopted else None
        return cls(health=health, was_ready=adopted, ready=adopted, ready_since_s=since_s)

    def readiness(self, ok: bool, text: str, at_s: float, id: str = "") -> "Judge":
        """With one more answer of the readiness probe; `text` says why it failed, and `id` where that is explained."""
        if ok:
            since_s = self.ready_since_s if self.ready else at_s
            reason, page = (self.reason, self.reason_id) if self.failing_live else ("", "")
            told = replace(self, reason=reason, reason_id=page, asked_s=at_s)
            return replace(told, was_ready=True, ready=True, ready_since_s=since_s, failed=0)
        failed = self.failed + 1
        keeps = self.ready and failed < self.health.failures
        return replace(
            self,
            ready=keeps,
            ready_since_s=self.ready_since_s if keeps else None,
            reason=text,
            reason_id=id,
            asked_s=at_s,
            tries=self.tries if self.was_ready else self.tries + 1,
            failed=failed,
        )

    def liveness(self, ok: bool, text: str, at_s: float) -> "Judge":
        """With one more answer of the liveness probe; counts only once the replica was ready."""
        if ok or not self.was_ready:
            return replace(self, failed_live=0)
        failed = self.failed_live + 1
        if failed < self.health.failures:
            return replace(self, failed_live=failed)
        # Lost for good: a replica that must be replaced is not asked back by one good answer.
        reason = text or f"liveness failed {failed} times in a row"
        return replace(
            self, failed_live=failed, failing_live=True, reason=reason, reason_id="liveness-lost", asked_s=at_s
        )

    def next_probe_s(self, now_s: float) -> float:
        """When to ask again, in boot seconds: at once, then 20 to 250 ms apart until it is stably ready, then `interval_s`."""
        if self.asked_s is None:
            return now_s
        if self.was_ready:
            return self.asked_s + self._interval_s()
        # Bounded before it is raised: a service may stay unready for hours.
        return self.asked_s + min(LONGEST_PROBE_S, FIRST_PROBE_S * GROWTH ** min(self.tries, 20))

    def _interval_s(self) -> float:
        """A shorter one inside the stability window: "stayed ready" must rest on more than one answer."""
        since_s, asked_s = self.ready_since_s, self.asked_s
        if since_s is not None and asked_s is not None and asked_s < since_s + self.health.stable_for_s:
            return min(LONGEST_PROBE_S, self.health.interval_s)
        return self.health.interval_s
