"""The pure parts of the link: broker addresses and the pauses between attempts."""

from __future__ import annotations

import pytest

from gateway.link.backoff import Backoff
from gateway.link.broker import Broker


def test_an_address_has_a_scheme_a_host_and_a_port() -> None:
    assert Broker.parse("mqtt://127.0.0.1:1884") == Broker(host="127.0.0.1", port=1884)
    assert Broker.parse("mqtt://broker").port == 1883
    secure = Broker.parse("mqtts://broker", ca_file="ca.pem", username="gw", password_file="pw")
    assert secure.port == 8883
    assert secure.tls is not None
    assert str(secure) == "mqtts://broker:8883"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("tcp://broker:1883", "not a broker address"),
        ("broker:1883", "not a broker address"),
        ("mqtt://", "not a broker address"),
        ("mqtt://user:secret@broker", "password_file"),
        ("mqtt://broker:99999", "not a port"),
        ("mqtt://broker/path", "ends after the port"),
    ],
)
def test_a_bad_address_says_what_to_write(url: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Broker.parse(url)


def test_tls_files_need_a_tls_address() -> None:
    with pytest.raises(ValueError, match="mqtts"):
        Broker.parse("mqtt://broker", ca_file="ca.pem")


def test_pauses_double_up_to_their_limit_and_start_again_after_success() -> None:
    backoff = Backoff(first_s=1, max_s=10)
    assert [backoff.pause_s(0.0) for _ in range(5)] == [1, 2, 4, 8, 10]
    backoff.succeeded()
    assert backoff.pause_s(0.0) == 1
    assert 0.5 <= Backoff(first_s=1).pause_s(0.999) < 1
