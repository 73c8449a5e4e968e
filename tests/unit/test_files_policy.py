"""What may be fetched."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import DownloadError
from falq.files.policy import MediaPolicy, is_public

SANDBOX = MediaPolicy(allowed_origin="http://127.0.0.1:8000/prefix")


@pytest.mark.parametrize("url", ["https://v3.fal.media/a.png", "HTTPS://h:8443/x?y#z"])
def test_https_is_fetched(url):
    MediaPolicy().check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://v3.fal.media/a.png", "file:///etc/passwd", "ftp://h/x", "gopher://h/x", "https://",
        "https://user:secret@h/x", "https://h\\@evil/x", "https://h/a b", "https://h/\n",
        "https://[::1", "https://h:99999/", "//h/x", "x", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_everything_else_is_refused_for_good(url):
    with pytest.raises(DownloadError) as error:
        MediaPolicy().check_url(url)
    assert not error.value.retryable
    assert error.value.exit_code == 7


def test_only_the_allowed_origin_may_speak_plain_http():
    SANDBOX.check_url("http://127.0.0.1:8000/cdn/a.png")
    for url in ("http://127.0.0.1:8001/a", "http://localhost:8000/a", "https://127.0.0.1:8000/a"):
        with pytest.raises(DownloadError):
            SANDBOX.check_url(url)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111", "64:ff9b::5db8:d70e"])
def test_addresses_of_the_open_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
        "169.254.169.254", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00::1",
        "fec0::1", "ff02::1", "2002:7f00:1::", "2001:0:4136:e378::", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2001:db8::1", "localhost", "2130706433", "",
    ],
)  # fmt: skip
def test_all_other_addresses_are_not(address):
    assert not is_public(address)


@given(st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10"]), st.data())
def test_a_private_address_stays_private_in_every_wrapping(network, data):
    hosts = ipaddress.ip_network(network)
    inner = int(hosts.network_address) + data.draw(st.integers(0, hosts.num_addresses - 1))
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert not is_public(str(ipaddress.IPv6Address(prefix | inner)))
