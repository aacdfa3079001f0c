"""What is said when the way to another machine is not open: what, why, and the fix, by the words of the real ssh and sshd."""

import shutil
import subprocess
import sys
import time

import pytest
from tests.remote.conftest import Shop

UNREACHABLE = 7


def told(shop: Shop, id: str) -> str:
    _, err = shop.atoll("status", code=UNREACHABLE)
    assert f"error[{id}]" in err, err
    return err


@pytest.mark.usefixtures("daemon")
def test_a_key_that_is_not_taken(shop: Shop) -> None:
    shop.machines.write_client_config(key="strange_key")
    err = told(shop, "ssh-denied")
    assert "Permission denied (publickey)" in err
    assert "`ssh vm1` must let you in" in err


@pytest.mark.usefixtures("daemon")
def test_a_machine_whose_key_is_not_known(shop: Shop) -> None:
    (shop.folder / "known_hosts").write_text("")
    assert "its key is not known" in told(shop, "ssh-host-key")


@pytest.mark.usefixtures("daemon")
def test_a_machine_whose_key_has_changed(shop: Shop) -> None:
    shop.machines.write_known((shop.folder / "strange_key.pub").read_text())
    err = told(shop, "ssh-host-key")
    assert "another one than it was" in err
    assert "ssh-keygen -R" in err


@pytest.mark.usefixtures("daemon")
def test_a_port_where_nobody_listens(shop: Shop) -> None:
    shop.machines.write_client_config(port=23)
    assert "Connection refused" in told(shop, "ssh-unreachable")


def test_a_name_that_nobody_knows(shop: Shop) -> None:
    shop.write("ssh://no.such.machine.invalid/s")
    assert "no.such.machine.invalid cannot be reached" in told(shop, "ssh-unreachable")


def test_an_ssh_that_is_not_there(shop: Shop) -> None:
    _, err = shop.atoll("status", code=2, ATOLL_SSH="/no/such/ssh")
    assert "error[tool-missing]: there is no /no/such/ssh" in err


def test_a_socket_that_is_not_there(shop: Shop) -> None:
    begun = time.monotonic()
    err = told(shop, "no-daemon-there")
    assert f"there is no socket {shop.far}" in err
    assert time.monotonic() - begun < 60  # it might be starting, which takes seconds and no minutes


def test_a_socket_where_nobody_listens(shop: Shop) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(shop.far))
    assert "is there, but nobody listens" in told(shop, "no-daemon-there")


def test_an_sshd_that_leads_to_no_sockets(shop: Shop) -> None:
    shop.machines.restart_sshd("AllowStreamLocalForwarding no")
    listening = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(shop.far)!r}); s.listen(); input()"
    # Over there: the kernel's table of sockets is of one namespace.
    with subprocess.Popen(
        [*shop.machines.on_server(), sys.executable, "-c", listening], stdin=subprocess.PIPE
    ) as served:
        try:
            assert "AllowStreamLocalForwarding yes" in told(shop, "forwarding-refused")
        finally:
            served.kill()


@pytest.mark.usefixtures("daemon")
def test_a_user_without_a_shell_is_let_through(shop: Shop) -> None:
    key = (shop.folder / "key.pub").read_text()
    (shop.folder / "authorized_keys").write_text(f'restrict,port-forwarding,command="/bin/false" {key}')
    shop.atoll("status")


def test_without_a_shell_the_reason_is_as_much_as_can_be_known(shop: Shop) -> None:
    key = (shop.folder / "key.pub").read_text()
    (shop.folder / "authorized_keys").write_text(f'restrict,port-forwarding,command="/bin/false" {key}')
    assert f"nobody answers at {shop.far}, the user may not use it, or sshd does not lead there" in told(
        shop, "no-daemon-there"
    )


@pytest.mark.usefixtures("daemon")
def test_a_command_that_sshd_forces_is_in_nobodys_way(shop: Shop) -> None:
    shop.machines.restart_sshd("ForceCommand echo forced: $SSH_ORIGINAL_COMMAND")
    shop.atoll("status")
    shop.write(f"ssh://vm1{shop.folder}/none.sock")
    assert f"nobody answers at {shop.folder}/none.sock" in told(shop, "no-daemon-there")


@pytest.mark.usefixtures("daemon")
def test_what_a_person_has_in_their_configuration_of_ssh_is_in_nobodys_way(shop: Shop) -> None:
    own = {
        "LogLevel": "QUIET", "RemoteCommand": "tmux attach", "RequestTTY": "force", "SessionType": "subsystem",
        "ControlMaster": "auto", "ControlPath": shop.folder / "of-a-person", "ControlPersist": "no",
        "LocalForward": f"{shop.folder}/forward {shop.folder}/nowhere", "ExitOnForwardFailure": "yes",
    }  # fmt: skip
    with (shop.folder / "ssh_config").open("a") as file:
        file.writelines(f"    {name} {value}\n" for name, value in own.items())
    shop.atoll("status")
    shop.write(f"ssh://vm1{shop.folder}/none.sock")
    assert f"there is no socket {shop.folder}/none.sock" in told(shop, "no-daemon-there")


def test_a_socket_of_this_machine_that_is_not_there(shop: Shop) -> None:
    shop.write(f"unix://{shop.far}")
    assert "there is no such socket" in told(shop, "no-daemon-there")


def test_a_folder_of_sockets_that_others_may_write_to_is_not_trusted(shop: Shop) -> None:
    shop.atoll("status", code=UNREACHABLE)
    [folder] = (shop.folder / "run").iterdir()
    shutil.rmtree(folder)
    folder.symlink_to(shop.folder)
    _, err = shop.atoll("status", code=2)
    assert "error[folder-unusable]" in err
