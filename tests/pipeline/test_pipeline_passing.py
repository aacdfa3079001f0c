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
    passing.drop(set())
    assert kept not in {key for key, _ in place.complete()}


def test_an_edit_that_is_taken_back_does_not_hide_that_another_environment_used_the_result_meanwhile(workshop) -> None:
    passing, place = Passing(workshop.artifacts), Artifacts(workshop.artifacts)
    workshop.write("orders/a.txt", "1")
    key = workshop.one(workshop.spec("orders")).key
    passing.note(key, made=True)
    workshop.one(workshop.spec("orders"))  # `atoll deploy --env staging`, whose release needs it from now on
    workshop.one(workshop.spec("orders"))  # edited to and fro under `atoll dev`
    passing.note(key, made=False)
    passing.drop(set())
    assert key in {key for key, _ in place.complete()}
