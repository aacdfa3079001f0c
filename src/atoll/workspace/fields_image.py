"""The fields of `[image]`, with its short form. See `fields_service`."""

import re
from typing import Any

from atoll.model.spec import ImageSpec
from atoll.workspace.fields_tasks import NEED
from atoll.workspace.fields_values import VARIABLE, Scalar
from atoll.workspace.kinds import Either, Flag, ListOf, MapOf, Mapped, Mistake, Text, Wrong, seen, wrong
from atoll.workspace.tables import Field, Table

DIGEST = re.compile(r"(?:[^\s@]+@)?sha256:[0-9a-f]{64}")
_MADE = (
    "dockerfile",
    "generated",
    "context",
    "target",
    "args",
    "needs",
    "base",
    "run_base",
)  # not of one that is there
_GENERATED = ("base", "run_base")
_OWN = ("dockerfile", "target", "args")


def _by_digest(text: str) -> str:
    """The name of an image that can mean one image only."""
    if not DIGEST.fullmatch(text):
        name = re.sub(r"@.*|:[^/:]*$", "", text) or "NAME"
        what = f"must be by digest, not {seen(text)}: a tag names one image today and another one tomorrow"
        raise wrong(what, f'`docker pull {text or name}` prints it: "{name}@sha256:..."')
    return text


def _image(**given: Any) -> ImageSpec:
    """Raises Wrong for fields that mean different ways to come to an image."""
    image = ImageSpec(**given)
    for one, others, why in (
        ("ref", _MADE, "that image is there already"),
        ("generated", _OWN, "a generated Dockerfile has none"),
        ("dockerfile", _GENERATED, "its FROM says where it starts"),
    ):
        if given.get(one) and (contrary := next((name for name in others if given.get(name)), None)):
            what, fix = f"cannot stand beside `{contrary}`: {why}", "take one of the two away"
            raise Wrong([Mistake(what, fix, (one,), id="fields-contradict")], image)
    return image


BASE = Text("image", pattern=r"[^\s]+", must="be the name of an image")
IMAGE_TABLE = Table(
    "[image]",
    (
        Field(
            "ref",
            Mapped(
                Text("image by digest"), _by_digest, says="image by digest", shape={"pattern": rf"^{DIGEST.pattern}$"}
            ),
            "An image that is there already, by its digest. It is pulled where it is missing.",
            ('"registry.example.com/mailer@sha256:570af9c759eaa1f8770c0d4fb91908ae9beef7423c6c78f158bf20ecef8a75e4"',),
            default="none: it is made",
        ),
        Field(
            "dockerfile",
            Text("path", pattern=r"(?!/).+", must="be a path relative to the service's folder"),
            "The Dockerfile, relative to the service's folder.",
            ('"docker/Dockerfile"',),
            default="`Dockerfile`, where there is one; else one is generated",
        ),
        Field("generated", Flag(), "One is generated, although there is a Dockerfile.", ("true",)),
        Field(
            "context",
            Text("folder", pattern=r"(?!/).+", must="be a folder relative to the service's"),
            "The folder that `COPY` sees, relative to the service's. What `.gitignore` or `.dockerignore` exclude is not there.",
            ('"../.."',),
            default="that of the build",
        ),
        Field(
            "target", Text("stage", pattern=r"\S+", must="be a stage's name"), "A stage of the Dockerfile.", ('"app"',)
        ),
        Field(
            "args",
            MapOf(VARIABLE, Scalar()),
            "Build arguments of the Dockerfile. Whoever has the image can read them: no secrets.",
            ('{ NODE_ENV = "production" }',),
        ),
        Field(
            "needs",
            ListOf(NEED),
            "Tasks that must pass first. The result of each lies in `.atoll/needs/NAME` of the context.",
            ('["build"]',),
            default="those of the build",
        ),
        Field(
            "base",
            BASE,
            "The image in which a generated Dockerfile builds.",
            ('"golang:1.24-bookworm"',),
            default="the environment's (`docker.bases`), else the usual one of the technology",
        ),
        Field(
            "run_base",
            BASE,
            "The image in which a generated Dockerfile lets run what was built.",
            ('"gcr.io/distroless/base-debian12"',),
            default="the same",
        ),
    ),
    _image,
    spec=ImageSpec,
    hints={
        "file": "it is called `dockerfile`",
        "name": "an image that is there already is `ref`; what is made here is named by its key",
        "tag": "an image that is there already is `ref`, by digest; what is made here is named by its key",
        "digest": "it is part of `ref`",
        "image": "it is called `ref`",
        "build_args": "they are called `args`",
        "from": "it is called `base`",
        "registry": "it belongs to [environments.NAME.docker] of atoll.toml",
        "platform": "images are made for the machine that makes them",
    },
)
IMAGE = Either(
    text=Mapped(Text(), lambda text: ImageSpec(ref=_by_digest(text)), says="image by digest"),
    table=IMAGE_TABLE,
    fix='such as "registry.example.com/mailer@sha256:...", or { dockerfile = "docker/Dockerfile" }',
)
