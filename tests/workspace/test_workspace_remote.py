"""`host` of an environment in atoll.toml: what it means, and what is said of files that are another machine's."""

from pathlib import Path

import pytest

from atoll.decide.environment import differences, kept_there, refuse_other_engine
from atoll.model.environment import DockerSpec, EnvironmentSpec, Gateway
from atoll.model.errors import InvalidWorkspace, Refused
from atoll.workspace.loader import load
from atoll.workspace.names import Told, told

PAIR = 'tls = { certificates = { cert = "%s", key = "/etc/tls/shop.key" } }'


def environment(root: Path, text: str, name: str = "production") -> EnvironmentSpec:
    (root / "atoll.toml").write_text(f'name = "shop"\n[environments.{name}]\n{text}\n')
    return load(root, name).environment


def test_an_environment_names_its_machine_and_the_others_are_here(tmp_path: Path) -> None:
    assert environment(tmp_path, 'host = "ssh://deploy@vm1/"').host == "ssh://deploy@vm1"
    assert load(tmp_path).environment.host is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('host = "deploy@vm1"', 'write "ssh://deploy@vm1"'),
        ('host = "ssh://deploy:secret@vm1"', "must not hold a password"),
        ('ssh = "vm1"', "it is called `host`"),
        ('host = "ssh://vm1"\nenvoy = "bin/envoy"', "bin/envoy is not absolute"),
        ('host = "ssh://vm1"\nenvoy = "~/envoy"', "~/envoy is not absolute"),
        (
            f'host = "ssh://vm1"\n[environments.production.gateway]\nport = 443\n{PAIR % "tls/shop.crt"}',
            "tls/shop.crt is not",
        ),
    ],
)
def test_near_misses_are_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidWorkspace) as caught:
        environment(tmp_path, text)
    [problem] = caught.value.problems
    assert said in f"{problem.what} {problem.fix}"


def test_files_of_the_other_machine_are_named_from_its_root_on(tmp_path: Path) -> None:
    text = f'host = "ssh://vm1"\n[environments.production.gateway]\nport = 443\n{PAIR % "/etc/tls/shop.crt"}'
    assert environment(tmp_path, text).gateway.tls is not None


def test_local_is_this_machine_always(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkspace, match=r"environments\.local\.host is this machine"):
        environment(tmp_path, 'host = "ssh://vm1"', "local")


def test_the_range_of_ports_is_compared_with_no_kernel_but_its_own(tmp_path: Path) -> None:
    text = 'ports = "32000-42000"\n'
    (tmp_path / "atoll.toml").write_text(f'[environments.a]\n{text}[environments.b]\nhost = "ssh://vm1"\n{text}')
    assert len(load(tmp_path, "a").warnings) == len(load(tmp_path, "b").warnings) + 1


def test_what_a_command_must_know_at_once_is_read_without_judging(tmp_path: Path) -> None:
    (tmp_path / "atoll.toml").write_text('name = "shop"\nbogus = 1\n[environments.production]\nhost = "ssh://vm1"\n')
    assert told(tmp_path, "production") == Told("shop", "ssh://vm1", declared=True)
    assert told(tmp_path, "staging") == Told("shop", "", declared=False)
    for unreadable in ("name = ", "environments = 7", "[environments.production]\nhost = 7"):
        (tmp_path / "atoll.toml").write_text(unreadable)
        assert told(tmp_path, "production") is None


def test_what_differs_is_told_by_the_names_of_the_file_and_what_is_the_machines_own_does_not_count() -> None:
    running = EnvironmentSpec(name="production", engine="docker", docker=DockerSpec(socket="/run/docker.sock"))
    told_alike = EnvironmentSpec(name="production", engine="docker", host="ssh://vm1")
    assert differences(told_alike, running) == []
    assert kept_there(told_alike, running) == running
    other = EnvironmentSpec(
        name="production", engine="docker", docker=DockerSpec(socket="/run/other.sock"), gateway=Gateway(port=80)
    )
    assert differences(other, running) == ["docker", "gateway"]


def test_another_engine_is_refused_while_services_shall_run() -> None:
    told, running = EnvironmentSpec(name="production", engine="docker"), EnvironmentSpec(name="production")
    refuse_other_engine(told, running, ())
    refuse_other_engine(running, running, ("orders",))
    with pytest.raises(Refused, match=r"says 'docker' now") as caught:
        refuse_other_engine(told, running, ("web", "mail", "orders", "catalog"))
    assert caught.value.why.endswith("catalog, mail, orders and 1 more")
    assert "`atoll down` and then `atoll up`" in caught.value.fix
    with pytest.raises(Refused) as caught:
        refuse_other_engine(told, running, ("web",), down=True)
    assert caught.value.fix.startswith('put `engine = "process"` back, then `atoll up` and `atoll down`')
