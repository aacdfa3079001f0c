"""Which address and which numbers a replica in a network of its own gets."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.errors import Retryable
from atoll.model.spec import Port
from atoll.realise.leases import free_address, own_numbers

NETWORK = "10.201.3.0/28"
USABLE = [f"10.201.3.{last}" for last in range(2, 8)]


def test_addresses_come_in_turn_and_begin_again_at_the_end() -> None:
    taken: list[str] = []
    for wanted in (*USABLE, USABLE[0]):
        taken = [free_address(NETWORK, taken)]  # the one before is gone already
        assert taken == [wanted]


@given(st.lists(st.sampled_from(USABLE), unique=True))
def test_no_address_is_given_twice_and_none_outside_the_lower_half(taken: list[str]) -> None:
    if len(taken) == len(USABLE):
        with pytest.raises(Retryable, match="no free address"):
            free_address(NETWORK, taken)
        return
    found = free_address(NETWORK, taken)
    assert found in USABLE
    assert found not in taken


def test_addresses_of_another_network_stand_in_nobodys_way() -> None:
    assert free_address(NETWORK, ["127.0.0.1"]) == USABLE[0]
    assert ipaddress.ip_address(free_address(NETWORK, ["10.201.9.7"])) in ipaddress.ip_network(NETWORK)


def test_numbers_are_those_that_are_insisted_on_and_others_from_8080_on() -> None:
    ports = [Port(name="http"), Port(name="admin", number=8081), Port(name="rpc"), Port(name="web", number=80)]
    assert own_numbers(ports) == {"http": 8080, "admin": 8081, "rpc": 8082, "web": 80}
