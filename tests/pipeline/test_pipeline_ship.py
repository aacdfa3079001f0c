"""An artifact on its way to another machine: it arrives as it was sent, or not at all, and what is there is not sent."""

import asyncio
import hashlib
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ship_route import KEYS, Route, artifact, seen

from atoll.model.environment import DockerSpec
from atoll.model.errors import Refused, UserError
from atoll.model.state import Artifact, Image
from atoll.model.wire_artifacts import ArtifactOffer
from atoll.pipeline.cache.contents import LEVEL
from atoll.pipeline.cache.tree import Entry, Tree
from atoll.pipeline.cache.zstd import compress
from atoll.pipeline.collect import Collected
from atoll.pipeline.ship.arrivals import Arrivals
from atoll.pipeline.ship.depot import Depot
from atoll.pipeline.ship.frames import MAGIC, PART_BYTES, Frame, packed, unpacked
from atoll.pipeline.ship.sending import Sending
from atoll.pipeline.ship.survey import survey
from atoll.pipeline.tools import this_platform

RANDOM = hashlib.shake_256(b"what does not compress").digest(3 * PART_BYTES)


FILES = {
    "bin/serve": b"#!/bin/sh\nexec true\n",
    "lib/a.txt": b"alpha",
    "lib/b.txt": b"beta",
    "empty": b"",
    "same": b"alpha",
}


def test_an_artifact_arrives_as_it_was_sealed(route: Route) -> None:
    made = route.made(KEYS[0], FILES, {"current": "lib/a.txt"})
    there = route.send(made)
    assert there.path == str(route.theirs / KEYS[0])
    assert (there.digest, there.key) == (made.digest, made.key)
    assert seen(there.path) == seen(made.path)
    assert Path(there.path, "lib").stat().st_mode & 0o777 == 0o555
    assert asyncio.run(route.depot.held([KEYS[0], KEYS[1]])) == [there]
    assert route.sent == 4  # equal files once


def test_what_lies_in_another_artifact_is_not_sent(route: Route) -> None:
    route.send(route.made(KEYS[0], FILES))
    route.bodies.clear()
    there = route.send(route.made(KEYS[1], FILES | {"lib/b.txt": b"another"}))
    assert Path(there.path, "lib/b.txt").read_bytes() == b"another"
    assert Path(there.path, "bin/serve").read_bytes() == FILES["bin/serve"]
    assert route.sent == 1


def test_a_second_offer_of_what_is_there_sends_nothing(route: Route) -> None:
    made = route.made(KEYS[0], FILES)
    first = route.send(made)
    route.bodies.clear()
    assert route.send(made) == first
    assert route.bodies == []


def test_a_content_of_another_artifact_that_was_changed_is_sent_instead(route: Route) -> None:
    first = route.send(route.made(KEYS[0], FILES))
    file = Path(first.path, "lib/a.txt")
    file.chmod(0o644)
    file.write_bytes(b"ALPHA")
    there = route.send(route.made(KEYS[1], {"a": b"alpha"}))
    assert Path(there.path, "a").read_bytes() == b"alpha"


def test_a_content_that_is_there_is_not_taken_for_one_of_another_size(route: Route) -> None:
    route.send(route.made(KEYS[0], FILES))
    made = route.made(KEYS[1], {"a": b"alpha"})
    lying = Tree((msgspec.structs.replace(next(seen(made.path).files), size_bytes=2),))
    assert lying.digest == made.digest  # of contents, so that sizes are anybody's word
    view = asyncio.run(route.depot.take(msgspec.structs.replace(route.offer(made), tree=compress(lying.encoded()))))
    assert (view.artifact, view.missing) == (None, (hashlib.sha256(b"alpha").hexdigest(),))


def test_names_that_a_file_system_takes_and_people_do_not_expect_arrive_as_they_were(route: Route) -> None:
    deep = "/".join(["d" * 200] * 18)
    names = ("two\nlines", "tab\there", " ", "-rf", "наследие", "e\u0301", "\u202etxt", f"{deep}/end")
    files = dict.fromkeys(names, b"x")
    made = route.made(KEYS[0], files)
    there = route.send(made)
    assert there.digest == made.digest
    assert {entry.path for entry in seen(there.path).files} == set(files)


def test_a_broken_transfer_goes_on_where_it_ended(route: Route) -> None:
    made = route.made(KEYS[0], {"large": RANDOM, "small": b"small"})
    count = 0

    def cut(body: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return None if count == 2 else body

    route.answer = cut
    with pytest.raises(ConnectionError):
        route.send(made)
    parts = [frame for body in route.bodies for frame in unpacked(body)]
    assert [frame.offset for frame in parts if not frame.whole] == [0, PART_BYTES]
    route.bodies.clear()
    route.depot = Depot(route.theirs, lambda *_: Collected())  # its daemon was replaced, too
    there = route.send(made)
    assert Path(there.path, "large").read_bytes() == RANDOM
    offsets = [frame.offset for body in route.bodies for frame in unpacked(body) if not frame.whole]
    assert offsets[0] == PART_BYTES
    assert 0 not in offsets


def test_parts_that_all_arrived_before_the_daemon_ended_are_a_content(route: Route) -> None:
    made = route.made(KEYS[0], {"large": RANDOM})
    route.take(made)
    stored = compress(RANDOM, LEVEL)
    digest = hashlib.sha256(RANDOM).hexdigest()
    (route.theirs / ".arrivals" / "parts" / f"{digest}.{len(stored)}").write_bytes(stored)
    route.depot = Depot(route.theirs, lambda *_: Collected())
    assert route.take(made).begun[digest].there_bytes == len(stored)
    assert Path(route.send(made).path, "large").read_bytes() == RANDOM


def test_a_part_that_comes_twice_or_too_early_changes_nothing(route: Route) -> None:
    digest, stored = hashlib.sha256(RANDOM).hexdigest(), compress(RANDOM, LEVEL)

    def part(offset: int, length: int) -> int:
        frame = Frame(digest, len(RANDOM), len(stored), offset, stored[offset : offset + length])
        view = asyncio.run(route.depot.keep(MAGIC + packed(frame)))
        return view.begun[digest].there_bytes if view.begun else len(stored)

    assert part(0, 100) == 100
    assert part(0, 100) == 100
    assert part(500, 100) == 100
    assert part(100, len(stored)) == len(stored)
    made = route.made(KEYS[0], {"large": RANDOM})
    assert Path(route.send(made).path, "large").read_bytes() == RANDOM


@pytest.mark.parametrize("size", [5, 2 * PART_BYTES])
def test_what_arrives_damaged_is_never_kept_and_is_sent_anew(route: Route, size: int) -> None:
    made = route.made(KEYS[0], {"file": RANDOM[:size]})

    def flipped(body: bytes) -> bytes:
        return body[:-3] + bytes([body[-3] ^ 1]) + body[-2:]

    route.answer = flipped
    with pytest.raises(UserError) as raised:
        route.send(made)
    assert raised.value.id == "artifact-damaged"
    assert not Path(route.theirs, KEYS[0]).exists()
    route.answer = lambda body: body
    assert Path(route.send(made).path, "file").read_bytes() == RANDOM[:size]


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 400), flip=st.integers(0, 400))
def test_whatever_a_request_looks_like_no_content_is_kept_that_is_not_its_digests(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    data = b"a content that is long enough to be damaged in many ways" * 3
    stored = compress(data, LEVEL)
    body = MAGIC + packed(Frame(hashlib.sha256(data).hexdigest(), len(data), len(stored), 0, stored))
    flip, cut = flip % len(body), cut % len(body)
    spoilt = body[:flip] + bytes([body[flip] ^ 4]) + body[flip + 1 :]
    route = Route(tmp_path_factory.mktemp("route"))
    for each in (spoilt, body[:cut]):
        with suppress(UserError):
            asyncio.run(route.depot.keep(each))
    contents = Arrivals(route.theirs / ".arrivals").contents
    for digest, _ in contents.all():
        contents.check(digest)  # a bit that says nothing may be another one


def test_a_kill_while_it_was_put_together_leaves_nothing_that_counts(route: Route) -> None:
    made = route.made(KEYS[0], FILES)
    half = route.theirs / KEYS[0]
    half.mkdir(parents=True)
    (half / "lib").mkdir()
    (half / "lib/a.txt").write_bytes(b"half")
    assert asyncio.run(route.depot.held([KEYS[0]])) == []
    there = route.send(made)
    assert seen(there.path) == seen(made.path)


def test_two_who_send_the_same_at_once_both_get_it(route: Route) -> None:
    made = route.made(KEYS[0], FILES | {f"file-{n}": str(n).encode() for n in range(200)})
    found: list[Artifact] = []
    threads = [threading.Thread(target=lambda: found.append(route.send(made))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert {artifact.path for artifact in found} == {str(route.theirs / KEYS[0])}
    assert seen(found[0].path) == seen(made.path)


@pytest.mark.parametrize(
    "entry",
    [
        Entry("../evil", "file", hashlib.sha256(b"x").hexdigest(), 1),
        Entry("/etc/evil", "file", hashlib.sha256(b"x").hexdigest(), 1),
        Entry("a/./b", "file", hashlib.sha256(b"x").hexdigest(), 1),
        Entry("late", "file", hashlib.sha256(b"x").hexdigest(), 1, 10**40),
        Entry("large", "file", hashlib.sha256(b"x").hexdigest(), 10**40),
    ],
)
def test_a_list_of_files_that_leaves_its_folder_is_refused(route: Route, entry: Entry) -> None:
    tree = Tree((entry,))
    artifact = Artifact(key=KEYS[0], digest=tree.digest, builder="x", platform=this_platform(), path="/somewhere")
    offer = ArtifactOffer(service="orders", artifact=artifact, tree=compress(tree.encoded()))
    with pytest.raises(UserError) as raised:
        asyncio.run(route.depot.take(offer))
    assert raised.value.id == "artifact-damaged"


@pytest.mark.parametrize(
    ("key", "id", "name"),
    [
        ("../../../etc", f"sha256:{'0' * 64}", ""),
        (KEYS[0], "--help", ""),
        (KEYS[0], f"sha256:{'0' * 64}", "--privileged"),
    ],
)
def test_an_image_that_is_no_name_never_comes_to_docker(route: Route, key: str, id: str, name: str) -> None:
    made = msgspec.structs.replace(artifact(), key=key, image=Image(id=id))
    route.depot = Depot(route.theirs, lambda *_: Collected(), DockerSpec(socket="/nowhere"))
    with pytest.raises(UserError) as raised:
        asyncio.run(route.depot.take(ArtifactOffer(service="orders", artifact=made, image_name=name)))
    assert raised.value.id == "artifact-damaged"


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"key": "../../etc"}, {"key": "A" * 40}, {"path": "here"}])
def test_an_offer_that_is_not_what_it_says_is_refused(route: Route, change: dict[str, str]) -> None:
    offer = route.offer(route.made(KEYS[0], FILES))
    offer = msgspec.structs.replace(offer, artifact=msgspec.structs.replace(offer.artifact, **change))
    with pytest.raises(UserError) as raised:
        asyncio.run(route.depot.take(offer))
    assert raised.value.id == "artifact-damaged"


def test_a_disk_without_room_is_told_before_anything_is_sent(route: Route) -> None:
    asked: list[tuple[float, int, str]] = []

    def collect(*limits: Any) -> Collected:
        asked.append(limits)
        return Collected()

    route.depot = Depot(route.theirs, collect)
    tree = Tree((Entry("huge", "file", hashlib.sha256(b"x").hexdigest(), 1 << 55),))
    artifact = Artifact(key=KEYS[0], digest=tree.digest, builder="x", platform=this_platform(), path="/somewhere")
    offer = ArtifactOffer(service="orders", artifact=artifact, tree=compress(tree.encoded()), max_age_s=7.0)
    with pytest.raises(Refused) as raised:
        asyncio.run(route.depot.take(offer))
    assert raised.value.id == "disk-full"
    assert asked == [(7.0, 0, "now")]  # what nobody needs was to go first


def test_a_machine_that_cannot_keep_artifacts_says_that_it_is_the_one(route: Route) -> None:
    made = route.made(KEYS[0], FILES)
    route.theirs.mkdir(parents=True)
    (in_the_way := route.theirs / ".staging").touch()
    for ask in (route.depot.take(route.offer(made)), route.depot.keep(b"")):
        with pytest.raises(Refused) as raised:
            asyncio.run(ask)
        assert raised.value.id == "folder-unusable"
        assert raised.value.what == f"the environment's machine cannot keep artifacts: {route.theirs} cannot be used"
        assert raised.value.fix.startswith("on that machine: ")
    in_the_way.unlink()


def test_what_arrived_and_was_never_asked_for_again_is_removed(route: Route) -> None:
    made = route.made(KEYS[0], {"file": RANDOM[:1000]})
    surveyed = survey(made, None, threading.Event())
    view = route.take(made)
    Sending(surveyed.files, route.put, lambda *_: Collected()).send(view.missing, view.begun)
    arrivals = route.theirs / ".arrivals"
    (content,) = (arrivals / "contents").rglob("*.zst")
    old = time.time() - 8 * 86_400
    os.utime(content, (old, old))
    tree = Tree((Entry("huge", "file", hashlib.sha256(b"x").hexdigest(), 1 << 55),))
    artifact = Artifact(key=KEYS[1], digest=tree.digest, builder="x", platform=this_platform(), path="/somewhere")
    with pytest.raises(Refused):
        asyncio.run(route.depot.take(ArtifactOffer(service="orders", artifact=artifact, tree=compress(tree.encoded()))))
    assert not content.exists()
