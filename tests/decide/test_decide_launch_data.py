from msgspec.structs import replace

from atoll.decide.launch import Folders, launch, probe_command
from atoll.model.launch import Launch
from atoll.model.spec import Command, Plain, ServiceSpec
from atoll.model.state import Artifact, Release, ReplicaRecord

DATA = "/state/data/orders"
RECORD = ReplicaRecord(id="orders-r1-0-a", service="orders", release=1, slot=0)


def release(run: str, **env: str) -> Release:
    artifact = Artifact(key="k", digest="d", builder="python", platform="any", path="/artifacts/k")
    values = {name: Plain(text) for name, text in env.items()}
    return Release(
        service="orders", n=1, spec=ServiceSpec(name="orders", run=Command(shell=run), env=values), artifact=artifact
    )


def launched(run: str, **env: str) -> Launch:
    return launch(release(run, **env), RECORD, {}, {}, folders=Folders(data=DATA))


def test_a_service_that_names_its_data_folder_gets_it_writable() -> None:
    made = launched("serve", ORDERS_DB="{data}/orders.db")
    assert made.env["ORDERS_DB"] == "/state/data/orders/orders.db"
    assert made.writable == (DATA,)


def test_the_data_folder_may_stand_in_the_command() -> None:
    made = launched("serve --store {data}")
    assert made.command.shell == "serve --store /state/data/orders"
    assert made.writable == (DATA,)


def test_a_service_that_does_not_ask_for_a_data_folder_gets_none() -> None:
    made = launched("serve", SHELL_STYLE="${data}", TEXT="data")
    assert made.env["SHELL_STYLE"] == "${data}"
    assert made.writable == ()


def test_a_probe_finds_the_same_data_folder() -> None:
    asked = probe_command(
        Command(argv=("test", "-e", "{data}/ready")), release("serve"), RECORD, {}, Folders(data=DATA)
    )
    assert asked.argv[-1] == "/state/data/orders/ready"


def test_folders_that_the_file_names_are_writable_beside_it() -> None:
    wanted = release("serve {data}")
    wanted = replace(wanted, spec=replace(wanted.spec, writable=("/var/lib/orders",)))
    assert launch(wanted, RECORD, {}, {}, folders=Folders(data=DATA)).writable == (DATA, "/var/lib/orders")
