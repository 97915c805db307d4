"""Bodies of `telomere broker …`: the acl file and the certificates of a broker with TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.answers import CommandError, Exit
from deploy.mosquitto import authority
from deploy.mosquitto.acl import Clients, acl_text, checked_name


def acl(clients: Path, output: Path | None) -> int:
    """The acl file of a list of clients, to a file or to stdout."""
    from gateway.link.faults import load_toml_model

    found, _ = load_toml_model(clients, Clients)
    text = acl_text(found)
    if output is None:
        print(text, end="")
        return Exit.FINE
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = output.with_name(f".{output.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(output)
    return Exit.FINE


def make_authority(folder: Path) -> int:
    """ca.crt and ca.key."""
    with _told():
        pair = authority.make_authority(folder)
    print(f"{pair.cert}: copy it to the broker, the collector and every gateway")
    print(f"{pair.key}: keep it offline; who has it can be anybody")
    return Exit.FINE


def certificate(folder: Path, name: str, *, output: Path | None, server: tuple[str, ...], days: int) -> int:
    """A certificate for a client, or for the broker when it has addresses."""
    try:
        checked_name(name)
    except ValueError as error:
        raise CommandError(str(error), hint="a gateway is group/node, everybody else a plain name") from None
    ca = authority.Pair(folder / "ca.crt", folder / "ca.key")
    if not ca.key.exists():
        raise CommandError(
            f"{ca.key} is not there", hint="make it first: telomere broker authority --dir DIR"
        )
    with _told():
        pair = authority.issue(
            ca,
            output or folder,
            stem="broker" if server else name.replace("/", "."),
            name=name,
            use=authority.Use.SERVER if server else authority.Use.CLIENT,
            addresses=server,
            days=days,
        )
    print(f"{pair.cert}\n{pair.key}")
    return Exit.FINE


@contextmanager
def _told() -> Iterator[None]:
    """A refusal of openssl as a sentence."""
    try:
        yield
    except authority.AuthorityError as error:
        raise CommandError(str(error)) from None
