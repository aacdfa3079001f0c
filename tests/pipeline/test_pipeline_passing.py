"""Artifacts of one edit each: removed when they are history, and never one that somebody else may need."""

from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.collect import Passing


def test_only_what_it_made_and_nobody_used_since_is_removed(workshop) -> None:
    passing, place = Passing(workshop.artifacts), Artifacts(workshop.artifacts)
    keys: list[str] = []
    for n in range(5):
        workshop.write("orders/a.txt", str(n))
        keys.append(workshop.one(workshop.spec("orders")).key)
        passing.note(keys[-1], made=n != 0)  # the first was there before
    used, kept = keys[1], keys[2]
    workshop.write("orders/a.txt", "1")
    assert workshop.one(workshop.spec("orders")).key == used, "found by another deploy"
    assert len(passing) == 4
    passing.drop({kept})
    there = {key for key, _ in place.complete()}
    assert there == {keys[0], used, kept}
    assert len(passing) == 1
    passing.note(kept, made=False)
    passing.drop(set())
    assert kept not in {key for key, _ in place.complete()}
