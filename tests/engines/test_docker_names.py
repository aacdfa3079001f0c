"""What marks containers, networks and volumes as one environment's."""

from pathlib import Path

from atoll.engines.docker.names import Names, environment_id


def test_another_state_folder_is_another_environment() -> None:
    """Else two installations of one workspace would take each other's containers for strays."""
    one, other = environment_id(Path("/var/lib/atoll/shop/local")), environment_id(Path("/home/ann/atoll/shop/local"))
    assert one != other
    assert one == environment_id(Path("/var/lib/atoll/shop/local"))
    assert Names(one).container("orders-r1-0") != Names(other).container("orders-r1-0")
    assert Names(one).filter != Names(other).filter
