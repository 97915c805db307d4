"""Where a broker is and how to be let in: URL, TLS files, credentials.

Owns the reading of `mqtt://` and `mqtts://` addresses. Secrets stay in their files until a
connection is made. Must not know paho.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class TlsContext(ssl.SSLContext):
    """A client's context that can close the socket it wrapped: paho forgets it when the handshake fails."""

    wrapped: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """As the standard's; the socket is kept."""
        self.wrapped = super().wrap_socket(*args, **kwargs)
        return self.wrapped

    def close(self) -> None:
        """Close the last socket."""
        if self.wrapped is not None:
            self.wrapped.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files of a TLS connection; without `ca_file` the system's authorities are trusted."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> TlsContext:
        """Reads the files (blocking). Raises OSError or ssl.SSLError when one cannot be used."""
        context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """One MQTT broker."""

    host: str
    port: int = 1883
    tls: Tls | None = None
    username: str = ""
    password_file: Path | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtt' if self.tls is None else 'mqtts'}://{host}:{self.port}"

    def password(self) -> str | None:
        """Reads the password file (blocking); None without one."""
        if self.password_file is None:
            return None
        return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        username: str = "",
        password_file: Path | str = "",
        ca_file: Path | str = "",
        cert_file: Path | str = "",
        key_file: Path | str = "",
    ) -> Broker:
        """Raises ValueError saying what is wrong with the address and how to spell it."""
        hint = "write mqtt://host:1883 or mqtts://host:8883"
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            msg = f"not a broker address: {url!r}; {hint}"
            raise ValueError(msg)
        if parts.password is not None or parts.username is not None:
            msg = "a broker address carries no user or password; use username and password_file"
            raise ValueError(msg)
        if parts.path.strip("/") or parts.query or parts.fragment:
            msg = f"a broker address ends after the port: {url!r}; {hint}"
            raise ValueError(msg)
        try:
            port = parts.port or _PORTS[parts.scheme]
        except ValueError as error:
            msg = f"not a port in {url!r}: {error}"
            raise ValueError(msg) from error
        files = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
        if parts.scheme == "mqtt" and any(map(str, files.values())):
            msg = f"TLS files are given but {url!r} is not mqtts://"
            raise ValueError(msg)
        tls = Tls(**{key: _path(value) for key, value in files.items()}) if parts.scheme == "mqtts" else None
        return cls(
            host=parts.hostname, port=port, tls=tls, username=username, password_file=_path(password_file)
        )


def checked_url(url: str) -> str:
    """The address itself, for models that report every key by itself. Raises ValueError as `parse` does."""
    Broker.parse(url)
    return url


def _path(value: Path | str) -> Path | None:
    return Path(value) if str(value) else None
