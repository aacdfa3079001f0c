"""The URLs that say where an environment runs."""

import pytest

from atoll.model.host import Host, parse


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("ssh://vm1", Host("ssh", machine="vm1")),
        ("ssh://vm1/", Host("ssh", machine="vm1")),
        ("ssh://deploy@vm1", Host("ssh", machine="vm1", user="deploy")),
        ("ssh://deploy@vm1.example.com:2222", Host("ssh", machine="vm1.example.com", user="deploy", port=2222)),
        ("ssh://deploy@[2001:db8::1]:22", Host("ssh", machine="2001:db8::1", user="deploy", port=22)),
        ("ssh://vm1/run/atoll/my shop.staging.sock", Host("ssh", "/run/atoll/my shop.staging.sock", "vm1")),
        ("unix:///run/atoll/shop.production.sock", Host("unix", "/run/atoll/shop.production.sock")),
    ],
)
def test_a_url_is_read_and_written_alike(text: str, host: Host) -> None:
    assert parse(text) == host
    assert parse(str(host)) == host


@pytest.mark.parametrize(
    ("text", "must"),
    [
        ("vm1", "ssh://"),
        ("http://vm1", "ssh://"),
        ("ssh://", "a machine"),
        ("ssh://-oProxyCommand=evil", "a machine"),
        ("ssh://deploy@-oProxyCommand=evil", "a machine"),
        ("ssh://-lroot@vm1", "name of a user"),
        ("ssh://@vm1", "name of a user"),
        ("ssh://deploy:secret@vm1", "password"),
        ("ssh://vm1:0", "between 1 and 65535"),
        ("ssh://vm1:99999", "between 1 and 65535"),
        ("ssh://vm1/run/a:b.sock", "plain absolute path"),
        ("ssh://vm1/run/%h.sock", "plain absolute path"),
        ("ssh://vm1/run/${HOME}", "plain absolute path"),
        ("ssh://vm1/run/a\nb", "machine"),
        ("unix://run/atoll.sock", "absolute path"),
        ("unix:///" + "a" * 107, "107 bytes"),
    ],
)
def test_what_ssh_would_read_in_another_way_is_refused(text: str, must: str) -> None:
    with pytest.raises(ValueError, match=must):
        parse(text)
