"""Who may say and hear what on the broker: a list of clients in, mosquitto's acl file out. Pure.

Mosquitto's own patterns know the whole user name only, and a Sparkplug topic has the kind of message
between group and node: so every gateway gets rules of its own. A gateway speaks and hears as itself
alone; the collector alone commands and says STATE. Must not know certificates nor files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.contract.topics import NAMESPACE, Message, Topic, check_id, state_topic

COMMON_NAME_MAX: Final = 64
"""Characters of a certificate's common name (X.520)."""
ALL_GROUPS: Final = "#"
_SAID: Final = (Message.NBIRTH, Message.NDATA, Message.NDEATH, Message.DBIRTH, Message.DDATA, Message.DDEATH)
_HEAD: Final = """\
# Made by `telomere broker acl` from the list of clients: edit that list, not this file.
# A user is the common name of a client certificate. What is not allowed here is refused.
"""


def _fits(text: str) -> str:
    if len(text) > COMMON_NAME_MAX:
        msg = f"{text!r} is longer than the {COMMON_NAME_MAX} characters of a certificate's common name"
        raise ValueError(msg)
    if text != text.strip():
        msg = f"{text!r} begins or ends with a space, which the acl file cannot say"
        raise ValueError(msg)
    return text


def _gateway(text: str) -> str:
    group, slash, node = text.partition("/")
    if not slash:
        msg = f"{text!r} is not group/node"
        raise ValueError(msg)
    check_id(group)
    check_id(node)
    return _fits(text)


def _group(text: str) -> str:
    return text if text == ALL_GROUPS else check_id(text)


def _plain(text: str) -> str:
    return _fits(check_id(text))


def checked_name(name: str) -> str:
    """The common name of a gateway (with a slash) or of anybody else. Raises ValueError."""
    return _gateway(name) if "/" in name else _plain(name)


class Clients(BaseModel):
    """Who connects. A gateway is `group/node`, everybody else a name without a slash: no two can meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host_id: Annotated[str, AfterValidator(_plain)] = Field(
        "telomere", description="the collector's host_id and the common name of its certificate"
    )
    groups: tuple[Annotated[str, AfterValidator(_group)], ...] = Field(
        (ALL_GROUPS,), min_length=1, description='Sparkplug groups of the collector; ["#"] for every group'
    )
    gateways: tuple[Annotated[str, AfterValidator(_gateway)], ...] = Field(
        (), description='gateways as "group/node"'
    )
    readers: tuple[Annotated[str, AfterValidator(_plain)], ...] = Field(
        (), description="programs that may hear everything and say nothing"
    )


def acl_text(clients: Clients) -> str:
    """The acl file."""
    blocks = [_block(clients.host_id, _collector(clients))]
    blocks += [_block(name, _gateway_rules(name, clients.host_id)) for name in sorted(set(clients.gateways))]
    readers = sorted(set(clients.readers) - {clients.host_id})
    blocks += [_block(name, [f"read {NAMESPACE}/#"]) for name in readers]
    return "\n".join((_HEAD, *blocks))


def _block(user: str, rules: Iterator[str] | list[str]) -> str:
    return "".join((f"user {user}\n", *(f"topic {rule}\n" for rule in rules)))


def _collector(clients: Clients) -> Iterator[str]:
    """Hears its groups, says its own STATE, and is the only one that commands. Nobody writes to devices."""
    everywhere = ALL_GROUPS in clients.groups
    for group in ("+",) if everywhere else clients.groups:
        yield f"write {NAMESPACE}/{group}/{Message.NCMD}/+"
    yield f"readwrite {state_topic(clients.host_id)}"
    yield from (
        [f"read {NAMESPACE}/{ALL_GROUPS}"]
        if everywhere
        else [f"read {NAMESPACE}/{group}/{ALL_GROUPS}" for group in clients.groups]
    )


def _gateway_rules(name: str, host_id: str) -> Iterator[str]:
    """Says its own births, data and deaths; hears its own commands and whether the collector is there."""
    group, _, node = name.partition("/")
    for kind in _SAID:
        yield f"write {Topic(kind, group, node, '+' if kind.of_device else None)}"
    yield f"read {Topic(Message.NCMD, group, node)}"
    yield f"read {state_topic(host_id)}"
