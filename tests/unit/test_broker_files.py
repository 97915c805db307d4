"""The acl generator and the broker commands: shipped files match their source, and names cannot escape."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy import cli_broker
from deploy.answers import CommandError
from deploy.mosquitto.acl import Clients, acl_text
from gateway.link.broker import Tls
from gateway.link.faults import ConfigError
from tests.walled import SHIPPED


def test_the_shipped_acl_is_what_the_shipped_list_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_broker.acl(SHIPPED / "clients.toml", None) == 0
    assert capsys.readouterr().out == (SHIPPED / "acl").read_text(encoding="utf-8")


def test_served_groups_limit_the_collector_too() -> None:
    text = acl_text(Clients(host_id="host", groups=("zurich",), gateways=("zurich/a b",)))
    assert "user host\ntopic write spBv1.0/zurich/NCMD/+\n" in text
    assert "spBv1.0/#" not in text
    assert "user zurich/a b\ntopic write spBv1.0/zurich/NBIRTH/a b\n" in text


@pytest.mark.parametrize(
    "name",
    ["gw", "g/", "/n", "g/n/x", "g/+", "#/n", "g/n\ntopic readwrite #", " g/n", "g/n ", f"g/{'n' * 63}"],
)
def test_a_name_that_the_acl_or_a_certificate_cannot_say_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Clients(gateways=(name,))


@pytest.mark.parametrize("name", ["", "a/b", "#", "x\nuser y", "n" * 65])
def test_neither_host_nor_reader_can_pass_for_a_gateway(name: str) -> None:
    with pytest.raises(ValidationError):
        Clients(host_id=name)
    with pytest.raises(ValidationError):
        Clients(readers=(name,))


def test_a_fault_in_the_list_is_told_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "clients.toml").write_text('gateways = ["gw"]\ngatways = []\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        cli_broker.acl(tmp_path / "clients.toml", tmp_path / "acl")
    assert {fault.key for fault in caught.value.faults} == {"gateways[0]", "gatways"}
    assert not (tmp_path / "acl").exists()


def test_certificates_from_the_command_line(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    with pytest.raises(CommandError, match=r"not there.*\n.*broker authority"):
        cli_broker.certificate(ca, "g/n", output=None, server=(), days=1)
    assert cli_broker.make_authority(ca) == 0
    with pytest.raises(CommandError, match="made once"):
        cli_broker.make_authority(ca)
    name = "zürich $x/gw'1"
    assert cli_broker.certificate(ca, name, output=tmp_path / "gw", server=(), days=1) == 0
    with pytest.raises(CommandError, match="renew into another folder"):
        cli_broker.certificate(ca, name, output=tmp_path / "gw", server=(), days=1)
    with pytest.raises(CommandError, match="group/node"):
        cli_broker.certificate(ca, "g/n/x", output=tmp_path / "gw", server=(), days=1)
    (cert,) = (tmp_path / "gw").glob("*.crt")
    key = cert.with_suffix(".key")
    assert key.stat().st_mode & 0o777 == 0o600
    context = Tls(ca_file=ca / "ca.crt", cert_file=cert, key_file=key).context()
    assert context.cert_store_stats()["x509_ca"] == 1
    shown = ("x509", "-in", str(cert), "-noout", "-subject", "-nameopt", "utf8,-esc_msb")
    subject = subprocess.run(("openssl", *shown), capture_output=True, text=True, check=True).stdout
    assert subject.strip().removeprefix("subject=").replace("CN = ", "CN=") == f"CN={name}"
