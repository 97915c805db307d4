"""What alarms there are: from rules in their versions, and from nodes and devices that may fall silent.

Owns the defaults: an alarm takes delay, hysteresis and clear delay of its rule unless the rule's `alarm`
part says otherwise. Must not know states. Pure.
"""

from __future__ import annotations

from typing import Any, Final

from collector.alarms.model import AlarmClass, Definition, Priority
from collector.identity.facts import RuleVersion
from collector.identity.ids import local_name
from gateway.rules.limits import Crossing, LimitRule, Side

BUILT_IN: Final = "built-in@1"
"""The version of definitions that no rule makes."""


def alarm_id(rule: str, side: Side) -> str:
    """`alarm:frz-high/high`: one alarm a rule and side, through all versions of the rule."""
    return f"alarm:{local_name(rule)}/{side.value}"


def of_rule(version: RuleVersion) -> dict[Side, Definition]:
    """The alarms of a rule, by the side of its limit."""
    said: dict[str, Any] = version.body.get("alarm") or {}
    return {
        side: Definition(
            id=alarm_id(version.id, side),
            version=version.ref,
            kind=AlarmClass.LIMIT,
            subject=f"point:{version.point}",
            side=side.value,
            priority=Priority(said.get("priority") or Priority.MEDIUM),
            consequence=said.get("consequence") or "",
            response=said.get("response") or "",
            respond_within_s=said.get("respond_within_s"),
            latched=bool(said.get("latched")),
            shelve_max_s=said.get("shelve_max_s"),
            position=said.get("position") or "site",
        )
        for side, _ in version.limit().sides()
    }


def condition_of(version: RuleVersion) -> LimitRule:
    """What the alarm asks of readings. Conservative: a gap neither hides nor ends what was out before it."""
    rule, said = version.limit(), version.body.get("alarm") or {}

    def figure(name: str, otherwise: float) -> float:
        value = said.get(name)
        return otherwise if value is None else float(value)

    return LimitRule(
        id=rule.id,
        version=rule.version,
        point=rule.point,
        high=rule.high,
        low=rule.low,
        delay_s=figure("on_delay_s", rule.delay_s),
        hysteresis=figure("deadband", rule.hysteresis),
        clear_delay_s=figure("off_delay_s", rule.clear_delay_s),
        crossing=Crossing.CONSERVATIVE,
    )


def of_sensor(point: str, priority: Priority, position: str = "site") -> Definition:
    """A point that a rule watches gives no usable value: as urgent as what it hides."""
    return Definition(
        id=f"alarm:sensor/{point}",
        version=BUILT_IN,
        kind=AlarmClass.SENSOR,
        subject=f"point:{point}",
        priority=priority,
        consequence="its limits are not watched",
        response="Look at the sensor and its wiring; watch the value by other means.",
        position=position,
    )


def of_device(device: str, priority: Priority) -> Definition:
    """A device answers no more; `device` is group/node/device."""
    return Definition(
        id=f"alarm:silent/{device}",
        version=BUILT_IN,
        kind=AlarmClass.SENSOR,
        subject=f"device:{device}",
        priority=priority,
        consequence="nothing is known of it",
        response="Look at its power and its line; watch what it measures by other means.",
    )


def of_node(node: str, priority: Priority) -> Definition:
    """A gateway is not heard; `node` is group/node."""
    return Definition(
        id=f"alarm:offline/{node}",
        version=BUILT_IN,
        kind=AlarmClass.COMMUNICATION,
        subject=f"node:{node}",
        priority=priority,
        consequence="nothing of its devices is known until it is back; it keeps their readings meanwhile",
        response="Look at its power and network; watch what it measures by other means.",
    )
