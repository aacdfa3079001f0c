"""Pairs of files: what is taken, and what is said of those that are not."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from atoll.certificates.pair import made, new_key, read, stand_in
from atoll.model.certificate import Unusable


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> str:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode()


def test_a_stand_in_is_a_pair_for_its_host(tmp_path: Path) -> None:
    one = stand_in("shop.example.com", 1e9)
    (tmp_path / "c").write_text(f"a comment\n{one.chain}")
    (tmp_path / "k").write_text(one.key)
    again = read(tmp_path / "c", tmp_path / "k")
    assert again == one
    assert again.hosts == ("shop.example.com",)
    assert again.ends_wall - 1e9 == 7 * 86_400


def test_a_long_name_fits() -> None:
    assert stand_in("a" * 60 + ".example.com", 1e9).hosts == ("a" * 60 + ".example.com",)


ONE, OTHER = stand_in("a.test", 1e9), stand_in("b.test", 1e9)
WEAK = rsa.generate_private_key(65537, 1024)


@pytest.mark.parametrize(
    ("chain", "key", "file", "why"),
    [
        (ONE.chain, OTHER.key, "k", "is not the key of c"),
        (OTHER.chain + ONE.chain, ONE.key, "c", "has the host's own certificate not first"),
        (ONE.chain + OTHER.chain, ONE.key, "c", "is not in order"),
        ("", ONE.key, "c", "holds no certificate"),
        (ONE.chain[:200], ONE.key, "c", "holds no certificate"),
        (ONE.key, ONE.key, "c", "it holds a private key"),
        (ONE.chain, ONE.chain, "k", "holds no private key"),
        (ONE.chain, ONE.key[:100], "k", "holds no private key"),
        (ONE.chain, pem(rsa.generate_private_key(65537, 2048), b"pw"), "k", "is encrypted with a password"),
        (ONE.chain, pem(WEAK), "k", "is an RSA key of 1024 bits"),
        (ONE.chain, pem(ed25519.Ed25519PrivateKey.generate()), "k", "is neither an RSA key nor"),
    ],
    ids=[
        "other",
        "last",
        "order",
        "empty",
        "cut",
        "key",
        "chain",
        "cut key",
        "password",
        "weak",
        "kind",
    ],  # values are random
)
def test_what_is_wrong_is_said_with_its_file_and_without_the_key(chain: str, key: str, file: str, why: str) -> None:
    with pytest.raises(Unusable) as caught:
        made(chain, key, "c", "k")
    assert caught.value.file == file
    assert why in caught.value.why
    assert not any(line in str(caught.value) for line in key.splitlines()[1:-1])


def test_files_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "c").write_text(ONE.chain)
    with pytest.raises(Unusable, match="cannot be read: no such file or directory"):
        read(tmp_path / "c", tmp_path / "gone")
    (tmp_path / "k").write_text("\n")
    with pytest.raises(Unusable, match="is empty"):
        read(tmp_path / "c", tmp_path / "k")
    (tmp_path / "k").write_text("x" * 300_000)
    with pytest.raises(Unusable, match="larger than 256 KiB"):
        read(tmp_path / "c", tmp_path / "k")


def test_keys_are_new_each_time() -> None:
    assert new_key() != new_key()
