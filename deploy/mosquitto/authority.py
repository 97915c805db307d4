"""A small certificate authority of one's own: its key, and certificates for broker, collector, gateways.

Owns what a certificate says (common name, addresses, use) and calls the `openssl` program for the rest.
For a site without an authority, and for tests; a site that has one issues the same certificates there.
Must not know who connects.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

CA_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 825
"""Common upper limit of what verifiers accept; renew earlier than that."""
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_CA: Final = """\
[req]
prompt = no
utf8 = yes
string_mask = utf8only
distinguished_name = name
x509_extensions = ca
[name]
CN = {name}
[ca]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""
_LEAF: Final = """\
[req]
prompt = no
utf8 = yes
string_mask = utf8only
distinguished_name = name
[name]
CN = {name}
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = {use}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
{addresses}
"""


class AuthorityError(Exception):
    """The openssl program is missing or refused; says what it said."""


class Use(StrEnum):
    """What a certificate is for: `extendedKeyUsage`."""

    CLIENT = "clientAuth"
    SERVER = "serverAuth"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path


def make_authority(folder: Path, *, name: str = "Telomere broker authority") -> Pair:
    """`ca.crt` and `ca.key` in a folder. Never overwrites: every issued certificate hangs on that key."""
    pair = Pair(folder / "ca.crt", folder / "ca.key")
    if pair.key.exists():
        raise AuthorityError(f"{pair.key} is there already; an authority is made once")
    folder.mkdir(parents=True, exist_ok=True)
    with _config(_CA.format(name=_quoted(name))) as config:
        _openssl(
            *("req", "-x509", *_KEY, "-sha256", "-days", str(CA_DAYS), "-config", config.name),
            *("-keyout", str(pair.key), "-out", str(pair.cert)),
        )
    pair.cert.chmod(0o644)
    return pair


def issue(
    authority: Pair,
    folder: Path,
    *,
    stem: str,
    name: str,
    use: Use,
    addresses: Sequence[str] = (),
    days: int = CERTIFICATE_DAYS,
) -> Pair:
    """`stem.crt` and `stem.key`: a certificate with this common name, for these host names and addresses."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder / f"{stem}.crt", folder / f"{stem}.key")
    if pair.key.exists():
        raise AuthorityError(f"{pair.key} is there already; renew into another folder")
    listed = ",".join(_address(one) for one in addresses)
    also = f"subjectAltName = {listed}" if listed else ""
    text = _LEAF.format(name=_quoted(name), use=use, addresses=also)
    with _config(text) as config, tempfile.TemporaryDirectory() as work:
        request = str(Path(work) / "request")
        _openssl(
            *("req", "-new", *_KEY, "-sha256", "-config", config.name),
            *("-keyout", str(pair.key), "-out", request),
        )
        _openssl(
            *("x509", "-req", "-in", request, "-sha256", "-days", str(days)),
            *("-CA", str(authority.cert), "-CAkey", str(authority.key), "-set_serial", _serial()),
            *("-extfile", config.name, "-extensions", "leaf", "-out", str(pair.cert)),
        )
    pair.cert.chmod(0o644)
    return pair


def _serial() -> str:
    """Random and positive, as verifiers want it: no file of serial numbers to lose."""
    return f"0x{(int.from_bytes(os.urandom(16)) >> 1) | 1:x}"


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return f"DNS:{text}"
    return f"IP:{text}"


def _quoted(text: str) -> str:
    """A value of openssl's configuration language."""
    return "".join(f"\\{character}" if character in "\\$\"'`#" else character for character in text)


def _config(text: str) -> tempfile._TemporaryFileWrapper[str]:
    file = tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".cnf")  # noqa: SIM115 - the caller closes it
    file.write(text)
    file.flush()
    return file


def _openssl(*arguments: str) -> None:
    before = os.umask(0o077)
    try:
        done = subprocess.run(("openssl", *arguments), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise AuthorityError("the openssl program is not installed: `apt install openssl`") from None
    finally:
        os.umask(before)
    if done.returncode:
        raise AuthorityError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
