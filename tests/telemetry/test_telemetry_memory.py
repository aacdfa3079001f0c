"""The last hour: gaps are gaps, minutes are packed without loss, windows add up."""

from hypothesis import given
from hypothesis import strategies as st

from atoll.model.signals import BUCKETS, Counts, EdgeKey, Histogram, ReplicaCounts, ReplicaKey
from atoll.model.traffic import Reading, Sample
from atoll.telemetry.memory import Memory
from atoll.telemetry.minute import Second, pack, unpack

EDGE, OTHER = EdgeKey("web", 4, "orders", 1), EdgeKey("", 0, "orders", 1)
ONE = Counts(requests=1, latency=Histogram.of({5: 1}))
some = st.integers(0, 10**6)
seconds = st.builds(
    Second,
    st.builds(
        Counts,
        requests=some,
        failures=some,
        retries=some,
        latency=st.dictionaries(st.integers(0, BUCKETS - 1), some, max_size=8).map(Histogram.of),
    ),
    st.integers(0, 500).map(float),
)


def read(memory: Memory, at_s: float, *keys: EdgeKey, seconds: float = 1.0, counts: Counts = ONE) -> None:
    memory.record(Reading(seconds=seconds, edges={key: Sample(counts=counts, inflight=2) for key in keys}), at_s)


def test_each_second_is_found_again_and_only_there() -> None:
    memory = Memory()
    for at_s in range(1001, 1301):
        read(memory, at_s + 0.003, EDGE)
    for first, last in ((1000, 1300), (1010, 1011), (1019, 1021), (1055, 1190), (900, 1050), (1290, 9999)):
        window = memory.window([EDGE], first, last)
        expected = max(0, min(last, 1300) - max(first, 1000))
        assert (window.seconds, window.counts.requests, window.counts.latency.total) == (expected,) * 3
        assert window.inflight == 2.0


def test_what_nobody_saw_is_no_data() -> None:
    memory = Memory()
    read(memory, 1010.0, EDGE)
    read(memory, 1011.0, EDGE)
    read(memory, 1020.0, EDGE)  # the readings between failed, and this one only covers its own second
    window = memory.window([EDGE], 1000, 1030)
    assert (window.seconds, window.counts.requests, window.rps) == (3, 3, 1.0)
    assert memory.window([EDGE], 1012, 1018).rps is None
    assert memory.window([OTHER], 1000, 1030).rps is None


def test_a_late_reading_covers_what_it_says_and_a_very_late_one_nothing() -> None:
    memory = Memory()
    read(memory, 1000.0, EDGE)
    read(memory, 1003.0, EDGE, seconds=3.0, counts=Counts(requests=30))
    assert memory.window([EDGE], 1000, 1003).rps == 10.0
    read(memory, 9000.0, EDGE, seconds=5997.0, counts=Counts(requests=10**6))  # the machine slept
    assert memory.window([EDGE], 1003, 9001).seconds == 0
    assert memory.totals()[EDGE].requests == 10**6 + 31  # but it went through


def test_two_readings_within_a_second_are_one_second() -> None:
    memory = Memory()
    read(memory, 1000.0, EDGE)
    read(memory, 1000.3, EDGE, seconds=0.3)
    read(memory, 1001.0, EDGE, seconds=0.7)
    window = memory.window([EDGE], 1000, 1001)
    assert (window.seconds, window.counts.requests) == (1, 2)


def test_callers_add_up_over_the_same_seconds() -> None:
    memory = Memory()
    for at_s in range(1001, 1021):
        read(memory, at_s, *((EDGE, OTHER) if at_s > 1010 else (EDGE,)))
    window = memory.window([EDGE, OTHER], 1000, 1020)
    assert (window.seconds, window.counts.requests) == (20, 30)


def test_an_hour_is_kept_and_then_forgotten() -> None:
    memory = Memory()
    for at_s in range(60, 60 * 70, 10):
        read(memory, at_s, EDGE)
    assert memory.window([EDGE], 0, 540).seconds == 0
    assert memory.window([EDGE], 1200, 4200).seconds == 299
    for at_s in range(60 * 70, 60 * 140, 10):
        read(memory, at_s, OTHER)
    assert memory.edges() == [OTHER]
    assert memory.totals().keys() == {OTHER}


def test_replicas_are_counted_beside() -> None:
    memory, one = Memory(), ReplicaKey("orders", 1, "orders-1")
    for at_s in range(1005, 1105, 5):
        counts = ReplicaCounts(seconds=5, requests=50, failures=1, inflight_s=2.5)
        memory.record(Reading(seconds=1, edges={EDGE: Sample()}, replicas={one: counts}), at_s)
    found = memory.replicas("orders", None, 1000, 1100)
    assert found == {one: ReplicaCounts(seconds=100, requests=1000, failures=20, inflight_s=50.0)}
    assert memory.replicas("orders", 2, 1000, 1100) == {}


@given(st.dictionaries(st.integers(0, 59), seconds, max_size=60))
def test_packing_loses_nothing(minute: dict[int, Second]) -> None:
    assert unpack(pack(minute)) == minute


@given(st.lists(st.tuples(st.integers(0, 400), seconds), max_size=40), st.integers(0, 400), st.integers(0, 400))
def test_a_window_is_the_sum_of_its_parts(recorded: list[tuple[int, Second]], middle: int, other: int) -> None:
    memory = Memory()
    for at, what in sorted(recorded, key=lambda pair: pair[0]):
        sample = Sample(counts=what.counts, inflight=int(what.inflight))
        memory.record(Reading(seconds=1, edges={EDGE: sample}), at + 1)
    cut = sorted((middle, other))
    parts = [
        memory.window([EDGE], first, last) for first, last in zip((0, *cut), (*cut, 401), strict=True) if first < last
    ]
    whole = memory.window([EDGE], 0, 401)
    summed = Counts()
    for part in parts:
        summed += part.counts
    assert whole.counts == summed
    assert whole.seconds == sum(part.seconds for part in parts) == len({at for at, _ in recorded})
