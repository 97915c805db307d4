"""Runs in the environment of pysparkplug, not in ours: its decoder over our payloads, and its edge node.

`decode`: a JSON list of {kind, hex, birth} on stdin (birth: the place of the birth to read aliases by), a
JSON list of payloads on stdout. `edge PORT GROUP NODE`: an edge node with one device; `data NUMBER` and
`stop` on stdin. Imports nothing of the project.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def decode() -> None:
    """See above."""
    sparkplug = importlib.import_module("pysparkplug")
    made: list[Any] = []
    for one in json.load(sys.stdin):
        birth = None if one["birth"] is None else made[one["birth"]]
        made.append(getattr(sparkplug, one["kind"]).decode(bytes.fromhex(one["hex"]), birth=birth))
    json.dump([_plain(payload) for payload in made], sys.stdout)


def _plain(payload: Any) -> dict[str, Any]:
    metrics = (
        [payload.bd_seq_metric] if hasattr(payload, "bd_seq_metric") else getattr(payload, "metrics", ())
    )
    return {
        "timestamp": payload.timestamp,
        "seq": getattr(payload, "seq", None),
        "metrics": [
            {
                "name": metric.name,
                "alias": metric.alias,
                "datatype": int(metric.datatype),
                "timestamp": metric.timestamp,
                "value": str(metric.value) if hasattr(metric.value, "isoformat") else metric.value,
                "is_null": metric.is_null,
                "is_historical": metric.is_historical,
                "is_transient": metric.is_transient,
            }
            for metric in metrics
        ],
    }


def edge(port: str, group: str, node: str) -> None:
    """See above."""
    sparkplug = importlib.import_module("pysparkplug")

    def metric(name: str, value: float) -> Any:
        now = sparkplug.get_current_timestamp()
        return sparkplug.Metric(timestamp=now, name=name, datatype=sparkplug.DataType.DOUBLE, value=value)

    made = sparkplug.EdgeNode(group, node, [metric("load", 0.5)])
    made.register(sparkplug.Device("pump", metrics=[metric("speed", 1.5)]))
    made.connect("127.0.0.1", port=int(port))
    for line in sys.stdin:
        verb, _, argument = line.strip().partition(" ")
        if verb == "stop":
            break
        made.update_device("pump", [metric("speed", float(argument))])
        print("sent", flush=True)
    made.disconnect()


if __name__ == "__main__":
    decode() if sys.argv[1] == "decode" else edge(*sys.argv[2:5])
