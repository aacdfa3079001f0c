"""A key is the same for the same build and another for any other one."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.model.building import Step
from atoll.model.spec import Command
from atoll.pipeline.inputs import Input
from atoll.pipeline.key import KEY_LENGTH, Manifest, differences, key_of

NAMES = st.text(min_size=1, max_size=8)
INPUTS = st.builds(Input, NAMES, st.sampled_from(["file", "program", "link"]), st.text("0123456789abcdef", max_size=8))
STEPS = st.builds(
    Step,
    command=st.builds(Command, argv=st.tuples(NAMES), shell=st.none() | NAMES),
    env=st.dictionaries(NAMES, NAMES, max_size=2),
    label=NAMES,
)
MANIFESTS = st.builds(
    Manifest,
    builder=NAMES,
    recipe=st.integers(0, 9),
    steps=st.lists(STEPS, max_size=2).map(tuple),
    outputs=st.lists(NAMES, max_size=2).map(tuple),
    env=st.dictionaries(NAMES, NAMES, max_size=3),
    tools=st.dictionaries(NAMES, NAMES, max_size=3),
    platform=NAMES,
    inputs=st.lists(INPUTS, max_size=4, unique_by=lambda each: each.path).map(
        lambda found: tuple(sorted(found, key=lambda each: each.path))
    ),
)
BASE = Manifest(
    builder="python",
    recipe=1,
    steps=(Step(command=Command(argv=("uv", "sync"))),),
    outputs=("**",),
    env={"A": "1"},
    tools={"uv": "uv 0.5"},
    platform="linux",
    inputs=(Input("a", "file", "00"), Input("b", "file", "11")),
)


@settings(max_examples=60, deadline=None)
@given(MANIFESTS)
def test_a_key_survives_storage_and_the_order_of_mappings(manifest: Manifest) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest)
    turned = msgspec.structs.replace(
        manifest,
        env=dict(reversed(list(manifest.env.items()))),
        tools=dict(reversed(list(manifest.tools.items()))),
    )
    assert key_of(stored) == key_of(turned) == key_of(manifest)
    assert len(key_of(manifest)) == KEY_LENGTH


@settings(max_examples=60, deadline=None)
@given(MANIFESTS, MANIFESTS)
def test_keys_are_equal_exactly_when_the_builds_are(one: Manifest, other: Manifest) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


@settings(max_examples=60, deadline=None)
@given(MANIFESTS, MANIFESTS)
def test_a_changed_key_has_a_reason_that_can_be_told(one: Manifest, other: Manifest) -> None:
    assert bool(differences(one, other)) == (one != other)


def test_a_key_is_the_same_in_every_version_of_this_recipe() -> None:
    """Change it only together with RECIPE: else artifacts of another recipe are taken for this one's."""
    assert key_of(BASE) == "a6bb762621487c3fc44ad968d1fcc978554d579f"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": (Input("a", "file", "99"), Input("b", "file", "11"))}, "a changed"),
        ({"inputs": (Input("a", "program", "00"), Input("b", "file", "11"))}, "a is a program now"),
        ({"inputs": (Input("a", "file", "00"),)}, "b is gone"),
        ({"inputs": (*BASE.inputs, Input("c", "file", "00"))}, "c is new"),
        ({"tools": {"uv": "uv 0.6"}}, "tool uv: uv 0.5 -> uv 0.6"),
        ({"env": {}}, "build variable A is no longer used"),
        ({"env": {"A": "1", "B": "2"}}, "build variable B is new"),
        ({"inherited": {"V": "0f"}}, "variable V changed"),
        ({"needs": {"catalog.build": "aa"}}, "catalog.build changed"),
        ({"steps": ()}, "steps changed"),
        ({"outputs": ("dist",)}, "outputs changed"),
        ({"platform": "macos"}, "platform linux -> macos"),
        ({"builder": "node"}, "builder python -> node"),
        ({"recipe": 2}, "Atoll builds it in another way now"),
    ],
)
def test_each_part_changes_the_key_and_is_named(change: dict[str, object], said: str) -> None:
    changed = msgspec.structs.replace(BASE, **change)
    assert key_of(changed) != key_of(BASE)
    assert differences(BASE, changed) == (said,)
