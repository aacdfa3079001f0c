"""Rolling: replica by replica, each taking its share of the traffic once it is ready. Judged on crashes and health, and in
the bake by what can be measured; the previous release keeps its replicas, warm, until then.
"""

from atoll.model.state import Release, Step

HOLD_S = 2.0  # long enough for a crash under the first requests to be seen


def steps(candidate: Release, replicas: int) -> tuple[Step, ...]:  # noqa: ARG001  every strategy's signature
    """One step a replica but the last, which takes all traffic."""
    return tuple(
        Step(weight_pct=round(100 * count / replicas), replicas=count, hold_s=HOLD_S) for count in range(1, replicas)
    )
