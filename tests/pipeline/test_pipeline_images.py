"""The task `image`: what goes in, what is run, and what its key depends on. No Docker is needed."""

from pathlib import Path
from threading import Event

import msgspec
import pytest
from tests.pipeline.conftest import Workshop

from atoll.model.errors import UserError
from atoll.model.spec import ImageSpec, ServiceSpec
from atoll.pipeline import images
from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.docker import trouble
from atoll.pipeline.globs import matcher
from atoll.pipeline.making import taken_as_it_is
from atoll.pipeline.order import folder_of, image_of, kit, order

DIGEST = "sha256:" + "ab" * 32


def with_image(spec: ServiceSpec, **image: object) -> ServiceSpec:
    return msgspec.structs.replace(spec, image=ImageSpec(**image))


class Shown:
    """What an image's task is, as the work tree lies there."""

    def __init__(self, workshop: Workshop, spec: ServiceSpec) -> None:
        assert spec.image is not None
        work = image_of(spec, spec.image)
        artifacts = Artifacts(workshop.artifacts)
        artifacts.prepare()
        taken = taken_as_it_is(work, workshop.root, artifacts, Event())
        asked = kit(workshop.root, artifacts, lambda _: (), {"PATH": "/usr/bin:/bin"})
        needs = dict.fromkeys(work.needs.values(), "0" * 40)
        found = order(work, taken, folder_of(work, workshop.root), needs=needs, kit=asked, fresh=False)
        self.key, self.files = found.key, {item.path for item in taken}
        self.steps = [step.command.text for step in found.plan.steps]


@pytest.mark.parametrize(
    ("text", "path", "excluded"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),  # anchored at the top, as Docker's
        ("**/*.md", "docs/deep/README.md", True),
        ("docs", "docs/deep/README.md", True),
        ("/docs/", "docs/README.md", True),
        ("docs\n!docs/README.md", "docs/README.md", False),
        ("*\n!src", "src/main.go", False),
        ("*\n!src", "notes", True),
        ("# docs", "docs", False),
        ("  docs  ", "docs/x", True),
        ("./docs/../secret", "secret", True),
        (".", "anything", False),
        ("", "anything", False),
        ("a?c", "abc", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("!kept\nkept", "kept", True),
        ("\ufeffsecret", "secret", True),
    ],
)
def test_dockerignore_is_read_as_docker_reads_it(text: str, path: str, excluded: bool) -> None:
    assert matcher(tuple(images.patterns(text)))(path) is excluded


def test_what_dockerignore_excludes_neither_goes_in_nor_counts(workshop: Workshop) -> None:
    workshop.write("orders/Dockerfile", "FROM scratch\n")
    workshop.write("orders/main.py")
    workshop.write("orders/notes.md", "before")
    workshop.write("orders/.dockerignore", "*.md\nDockerfile\n.dockerignore\n")
    spec = with_image(workshop.spec("orders"))
    before = Shown(workshop, spec)
    workshop.write("orders/notes.md", "after")
    workshop.write("orders/.dockerignore", "# the same, said in other words\n*.md\nDockerfile\n")
    assert before.files == {"Dockerfile", "main.py"}
    assert Shown(workshop, spec).key == before.key
    workshop.write("orders/.dockerignore", "")
    assert Shown(workshop, spec).key != before.key


def test_the_ignore_file_of_one_dockerfile_comes_before_the_common_one(workshop: Workshop) -> None:
    workshop.write("orders/Dockerfile", "FROM scratch\n")
    workshop.write("orders/a")
    workshop.write("orders/b")
    workshop.write("orders/.dockerignore", "a\n")
    workshop.write("orders/Dockerfile.dockerignore", "b\n")
    assert Shown(workshop, with_image(workshop.spec("orders"))).files == {"Dockerfile", "a"}


def test_what_git_ignores_goes_into_no_image(workshop: Workshop) -> None:
    workshop.write("orders/Dockerfile", "FROM scratch\n")
    workshop.write("orders/.env", "SECRET=1")
    workshop.write(".gitignore", ".env\n")
    assert Shown(workshop, with_image(workshop.spec("orders"))).files == {"Dockerfile"}


def test_a_dockerfile_sees_all_of_a_context_above(workshop: Workshop) -> None:
    workshop.write("services/orders/Dockerfile", "FROM scratch\n")
    workshop.write("services/orders/service.toml")
    workshop.write("lib/x.py")
    spec = ServiceSpec(name="orders", folder="services/orders", image=ImageSpec(context="../.."))
    shown = Shown(workshop, spec)
    assert {"services/orders/Dockerfile", "lib/x.py"} <= shown.files
    assert "services/orders/service.toml" not in shown.files
    assert shown.steps[0].startswith('mv services/orders/Dockerfile "$TMPDIR/Dockerfile"')


def test_the_steps_of_a_dockerfile_name_nothing_of_this_machine(workshop: Workshop) -> None:
    workshop.write("orders/docker/app", "FROM scratch\n")
    spec = workshop.spec("orders", inherit=("VERSION",), passed=("TOKEN",))
    spec = with_image(spec, dockerfile="docker/app", target="app", args={"B": "it's", "A": "1"}, needs=("proto",))
    shown = Shown(workshop, spec)
    assert shown.steps[:2] == [
        'mv docker/app "$TMPDIR/Dockerfile" && mkdir -p .atoll/needs/proto && cp -R "{needs.proto}/." .atoll/needs/proto',
        (
            'docker build --file "$TMPDIR/Dockerfile" --iidfile "$TMPDIR/image" --tag "$ATOLL_TAG" --force-rm'
            ' --label dev.atoll.image=orders --label "dev.atoll.key=$ATOLL_KEY" --target app --build-arg A=1'
            " --build-arg 'B=it'\"'\"'s' --build-arg VERSION --build-arg TOKEN ."
        ),
    ]
    assert shown.steps[2].startswith('rm -rf .atoll && mkdir .atoll && cp "$TMPDIR/Dockerfile" .atoll/Dockerfile')


def test_a_prebuilt_image_has_its_reference_for_a_key_and_no_files(workshop: Workshop) -> None:
    workshop.write("mailer/README.md")
    one = Shown(workshop, with_image(workshop.spec("mailer"), ref=f"shop/mailer@{DIGEST}"))
    other = Shown(workshop, with_image(workshop.spec("mailer"), ref=f"shop/mailer@{DIGEST[:-1]}c"))
    assert one.files == set()
    assert one.key != other.key
    assert one.steps[0] == (
        f"docker image inspect shop/mailer@{DIGEST} > /dev/null 2>&1 || docker pull shop/mailer@{DIGEST}"
    )


def test_a_dockerfile_that_is_named_and_not_there_is_an_error(workshop: Workshop) -> None:
    workshop.write("orders/main.py")
    with pytest.raises(UserError, match="orders has no docker/app") as raised:
        Shown(workshop, with_image(workshop.spec("orders"), dockerfile="docker/app"))
    assert raised.value.id == "no-such-file"


def test_names_of_images_keep_folders_and_pull_requests_apart() -> None:
    one, other = (images.tag_of("orders", "k", Path(each)) for each in ("/a", "/b"))
    assert one != other
    assert one.startswith("atoll/orders:k-")
    trusted = images.shared_tag("r:5000/shop", "orders", "k", "trusted")
    assert trusted == "r:5000/shop/orders:k"
    assert images.shared_tag("r:5000/shop", "orders", "k", "pr/7") not in {trusted, "r:5000/shop/orders:k"}


@pytest.mark.parametrize(
    ("said", "id"),
    [
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "docker-unreachable"),
        ("Got permission denied while trying to connect to the Docker daemon socket", "docker-unreachable"),
        ("write /out: no space left on device", "disk-full"),
        ("pull access denied for pyhton, repository does not exist or may require 'docker login'", "image-unavailable"),
        ("manifest for python:3.99 not found: manifest unknown", "image-unavailable"),
        ('Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io', "image-unavailable"),
        ("ERROR: failed to solve: x: failed to resolve source metadata for docker.io/library/x", "image-unavailable"),
        ("failed to create LLB definition: failed to do request: Head https://x", "image-unavailable"),
        ("npm ERR! 401 Unauthorized\nThe command '/bin/sh -c npm ci' returned a non-zero code: 1", None),
        ("no space left on device\nThe command '/bin/sh -c x' returned a non-zero code: 1", "disk-full"),
        ("npm ERR! missing script: build", None),
        ('Step 2/2 : ADD https://x/y /z\nADD failed: Get "https://x/y": dial tcp: no such host', None),
    ],
)
def test_what_docker_says_is_told_in_our_words(said: str, id: str | None) -> None:
    found = trouble(said)
    assert (found.id if found else None) == id


NO_HOST = "dial tcp: lookup registry-1.docker.io on 10.0.0.2:53: no such host"


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (
            f'Step 1/9 : FROM golang:1.21 AS build\nGet "https://registry-1.docker.io/v2/": {NO_HOST}',
            "golang:1.21 is not on this machine, and its registry is not reached",
        ),
        (
            (
                "#3 [internal] load metadata for docker.io/library/golang:1.21\n------\n"
                " > [internal] load metadata for docker.io/library/golang:1.21:\n------\n"
                f'failed to do request: Head "https://registry-1.docker.io/v2/library/golang/manifests/1.21": {NO_HOST}'
            ),
            "golang:1.21 is not on this machine, and its registry is not reached",
        ),
        (
            "Step 1/9 : FROM --platform=linux/amd64 pyhton AS build\npull access denied for pyhton, repository does not exist",
            "a registry refuses pyhton",
        ),
        (
            "Step 1/9 : FROM debian\nStep 5/9 : FROM shop/base:9\nmanifest for shop/base:9 not found: manifest unknown",
            "shop/base:9 cannot be had",
        ),
        ("manifest unknown", "an image that it starts from cannot be had"),
    ],
)
def test_an_image_that_cannot_be_had_is_named(said: str, what: str) -> None:
    found = trouble(said)
    assert found is not None
    assert found.what == what


def test_an_image_that_was_asked_for_is_named() -> None:
    found = trouble("Error response from daemon: manifest unknown", f"shop/mailer@{DIGEST}")
    assert found is not None
    assert found.what == f"shop/mailer@{DIGEST} cannot be had"
