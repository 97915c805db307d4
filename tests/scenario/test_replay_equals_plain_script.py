"""A log heard by a gateway is stored row by row and judged as a plain script judges it, from outside.

The log is like a freezer's: a door left open, defrosts, empty cells, NaN, a byte order mark, gzip. It
goes through sensor topic, agent, broker, ledger and HTTP; `plain_log` (csv, gzip, datetime) is the judge.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import math
import random
from pathlib import Path

import aiomqtt
import pytest

from tests.outside import eventually, point_path, site
from tests.scenario import plain_log
from tests.scenario.compare_log import compare

ROWS = 3000
START = dt.datetime(2022, 7, 7, 12, 0, tzinfo=dt.UTC)
POINT = "plain/gw-replay/freezer/Temperature"
PROBE = "plain/gw-replay/probe/beat"
HIGH = -15.0
EDGE_TOML = """\
[gateway]
group = "plain"
node = "gw-replay"
data_dir = "gateway"
[uplink]
broker = "{broker}"
flush_interval_ms = 200
[[source]]
id = "replay"
url = "{broker}"
[[source.device]]
id = "freezer"
[source.device.points.Temperature]
topic = "replay/freezer"
value = "/Temperature"
time = "/ts"
time_format = "unix_ms"
unit = "Cel"
[source.device.points.Humidity]
topic = "replay/freezer"
value = "/Humidity"
time = "/ts"
time_format = "unix_ms"
unit = "%"
[[source.device]]
id = "probe"
[source.device.points.beat]
topic = "replay/probe"
"""


def write_log(path: Path) -> None:
    """3,000 minutes around −19 °C with seven known warm stretches, some cells empty or NaN."""
    draw = random.Random(20220707)
    warm = {
        200: 40,
        700: 1,
        1100: 5,
        1107: 3,
        1900: 55,
        2400: 2,
        2980: 20,
    }  # the last is still out at the end
    lines = ["Date,LinuxTime,Temperature,Humidity"]
    for minute in range(ROWS):
        since = next((minute - at for at, length in warm.items() if at <= minute < at + length), None)
        value = -19 + draw.uniform(-1.5, 1.5) if since is None else -15 + 1 + 6 * math.sin((since + 1) / 20)
        cell = "" if minute % 97 == 5 else "NaN" if minute % 211 == 7 else f"{value:.2f}"
        cell = "-15.0" if minute in {300, 301} else cell  # equal to the limit is in
        seconds = int(START.timestamp()) + 60 * minute
        lines.append(f'"{minute // 1440}, noon",{seconds},{cell},{draw.randint(40, 60)}')
    path.write_bytes(gzip.compress("\n".join(lines).encode("utf-8-sig")))


def messages(path: Path) -> list[str]:
    """One message a row; no value is null."""
    temperatures = plain_log.read_log(
        str(path), time="LinuxTime", unit="s", origin=None, column="Temperature"
    )
    humidities = plain_log.read_log(str(path), time="LinuxTime", unit="s", origin=None, column="Humidity")
    return [
        json.dumps({"ts": t.time_ms, "Temperature": t.value, "Humidity": h.value})
        for t, h in zip(temperatures, humidities, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_rows_values_and_excursions_are_those_of_the_plain_script(tmp_path: Path) -> None:
    path = tmp_path / "freezer.csv.gz"
    write_log(path)
    log = plain_log.read_log(str(path), time="LinuxTime", unit="s", origin=None, column="Temperature")
    assert len(log) == ROWS
    async with site(tmp_path, EDGE_TOML) as place:
        await place.start()

        async def stored() -> int:
            status = await place.outbox()
            return int(status["readings_sampled"]) if status["depth_segments"] == 0 else 0

        async with aiomqtt.Client("127.0.0.1", place.broker_port) as client:

            async def probed() -> bool:
                await client.publish("replay/probe", "1", qos=1)
                return bool((await place.api.get(f"{point_path(PROBE)}/readings"))["items"])

            await eventually(probed, is_good=bool, timeout_s=20, what="the agent hears")
            before = await eventually(stored, is_good=bool, timeout_s=20, what="the probe is receipted")
            for message in messages(path):
                await client.publish("replay/freezer", message, qos=1)
        await eventually(
            stored, is_good=lambda count: count >= before + 2 * ROWS, timeout_s=60, what="all receipted"
        )
        outcome = await compare(place.api, point=POINT, log=log, high=HIGH)
        assert outcome.differences == []
        assert (outcome.rows_stored, outcome.values_stored) == (ROWS, outcome.values)
        assert outcome.excursions == dict.fromkeys(plain_log.POLICIES, 7)
        assert await place.agent.stop() == 0


def test_the_plain_script_on_a_log_that_can_be_counted_by_hand() -> None:
    """The vectors of the rules: three crossings, start and end by each policy."""
    ten = [plain_log.Sample(600_000 * i, value) for i, value in enumerate((7.0, 10.0, 7.5))]
    minutes = {p: plain_log.excursions(ten, crossing=p, high=8)[0].seconds / 60 for p in plain_log.POLICIES}
    assert minutes == {"linear": pytest.approx(14.6667, abs=1e-4), "locf": 10, "conservative": 20}
    cold = [plain_log.Sample(900_000 * i, v) for i, v in enumerate((-155.0, -148.0, -149.0, -151.0))]
    (one,) = plain_log.excursions(cold, crossing="linear", high=-150)
    assert one.seconds / 60 == pytest.approx(26.7857, abs=1e-4)
    assert (one.peak, one.side) == (-148, "high")
    (low,) = plain_log.excursions(cold, crossing="locf", low=-150.5)[:1]
    assert (low.side, low.from_ms, low.to_ms, low.peak) == ("low", 0, 900_000, -155)
