"""The key file: opened by its passphrase alone, and by nothing that was changed."""

import msgspec
import pytest

from atoll.backup import keys
from atoll.model.errors import UserError

KEY = bytes(range(32))
PASSPHRASE = "five words taken by chance"


@pytest.fixture(scope="module")
def data() -> bytes:
    return keys.written(KEY, PASSPHRASE, "shop", "production")


def test_the_passphrase_opens_it_and_another_does_not(data: bytes) -> None:
    assert keys.read(data, PASSPHRASE) == KEY
    with pytest.raises(UserError, match="cannot be used") as told:
        keys.read(data, PASSPHRASE + "!")
    assert told.value.id == "backup-key"


def test_neither_key_nor_passphrase_is_in_it(data: bytes) -> None:
    assert KEY.hex() not in data.hex()
    assert PASSPHRASE.encode() not in data


@pytest.mark.parametrize("member", ["workspace", "environment", "key_id", "salt", "sealed", "n"])
def test_what_it_says_cannot_be_changed(data: bytes, member: str) -> None:
    said = msgspec.json.decode(data)
    said[member] = {"n": 2**14, "salt": "AAAAAAAAAAAAAAAAAAAAAA==", "sealed": "AAAA" * 20}.get(member, "other")
    with pytest.raises(UserError):
        keys.read(msgspec.json.encode(said), PASSPHRASE)


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"not json", b'{"format": 2}', msgspec.json.encode({"n": "many"}), b"\xff\xfe", b'{"about": "\xff"}'],
)
def test_what_is_no_key_file_is_told(text: bytes) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        keys.read(text, PASSPHRASE)


@pytest.mark.parametrize(("member", "value"), [("n", 2**40), ("r", 2**20), ("p", 2**20), ("n", 3), ("n", 0)])
def test_a_file_that_asks_for_all_memory_is_refused_before_it_gets_any(data: bytes, member: str, value: int) -> None:
    said = msgspec.json.decode(data) | {member: value}
    with pytest.raises(UserError, match="cannot be used") as told:
        keys.read(msgspec.json.encode(said), PASSPHRASE)
    assert "memory" in told.value.why


def test_a_passphrase_that_is_guessed_soon_is_refused() -> None:
    with pytest.raises(UserError, match="too short"):
        keys.written(KEY, "short", "shop", "production")


def test_two_files_of_one_key_have_nothing_in_common_that_is_sealed(data: bytes) -> None:
    other = msgspec.json.decode(keys.written(KEY, PASSPHRASE, "shop", "production"), type=keys.KeyFile)
    first = msgspec.json.decode(data, type=keys.KeyFile)
    assert (other.key_id, other.salt == first.salt, other.sealed == first.sealed) == (first.key_id, False, False)
