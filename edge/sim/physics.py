"""What the simulated equipment does, second by second: heat, gas and cell balances with their controllers.

Owns the differential equations and their constants. Each kernel takes the state (changed in place),
one row of driving inputs a step (door open, story hooks), the wall-clock phase of the first step, and
writes one row of true values every `every` steps, so that stepping in chunks equals stepping whole.
Must not know registers, sensor noise, resolution or stories. Explicit Euler in steps of one second, a
thirtieth of the shortest time constant below; coefficients are per second.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.sim.compiled import compiled

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

BIOREACTOR_COLUMNS: Final = (
    "temperature",
    "jacket_temperature",
    "ph",
    "dissolved_oxygen",
    "agitation",
    "heater_power",
    "base_volume",
    "viable_cells",
    "co2_valve",
    "base_pump",
    "setpoint",
)
INCUBATOR_COLUMNS: Final = ("temperature", "co2", "humidity", "door")
FREEZER_COLUMNS: Final = (
    "temperature",
    "product_temperature",
    "evaporator_temperature",
    "compressor",
    "defrost",
    "door",
    "setpoint",
)
SHIPPER_COLUMNS: Final = ("temperature", "ln2_mass", "lid")


def bioreactor_start() -> Floats:
    """T °C, jacket °C, heater integral W, pH, DO %, agitation integral, 1e6 cells/mL, base mL, two valves."""
    return np.array([36.95, 38.0, 20.0, 7.12, 52.0, 60.0, 0.4, 0.0, 0.0, 0.0])


def incubator_start() -> Floats:
    """Air °C, shelves °C, CO2 %, relative humidity %, heater integral W, CO2 valve."""
    return np.array([37.0, 37.0, 5.0, 92.0, 45.0, 0.0])


def freezer_start() -> Floats:
    """Air °C, probe °C, load °C, compressor 0/1, evaporator °C."""
    return np.array([-20.0, -20.0, -20.3, 0.0, -22.0])


def shipper_start() -> Floats:
    """Cavity °C, absorbed liquid nitrogen kg."""
    return np.array([-189.5, 6.0])


@compiled
def bioreactor(state: Floats, drive: Bytes, phase_s: float, every: int, out: Floats) -> None:
    """A 2 L stirred vessel in a heated jacket: PI on temperature, pulses on pH, PI on oxygen by agitation.

    C_v dT/dt = UA_j (T_j - T) - UA_v (T - T_room) + q X + P_stir
    C_j dT_j/dt = P - UA_j (T_j - T) - UA_a (T_j - T_room)
    dX/dt = mu X (1 - X / X_max);  dpH/dt = strip - acid X + base - co2;  dDO/dt = kLa (100 - DO) - our X
    """
    t, jacket, integral = state[0], state[1], state[2]
    ph, do, stir = state[3], state[4], state[5]
    cells, base, co2 = state[6], state[7], state[8]
    pump = state[9]
    heat, rpm = 0.0, 60.0
    for row in range(out.shape[0]):
        for step in range(every + 1):
            # The room follows the day; the vessel loses about 16 W to it, the jacket 8 W.
            now = phase_s + row * every + step
            room = 21.0 + 0.8 * math.sin(now * 7.2722e-5)
            # Every six hours 10 mL of medium at 4 °C is fed within 40 s: 34 W less for the vessel.
            feed = 34.0 if now % 21600.0 < 40.0 else 0.0
            error = 37.0 - t
            heat = min(120.0, max(0.0, 60.0 * error + integral))
            oxygen_error = 50.0 - do
            rpm = min(180.0, max(40.0, 1.5 * oxygen_error + stir))
            if step == 0:
                out[row, 0] = t
                out[row, 1] = jacket
                out[row, 2] = ph
                out[row, 3] = do
                out[row, 4] = rpm
                out[row, 5] = heat / 1.2  # per cent of 120 W
                out[row, 6] = base
                out[row, 7] = cells
                out[row, 8] = co2
                out[row, 9] = pump
                out[row, 10] = 37.0
            if step == every:
                break
            # Integrators stand still while the actuator is at its stop (no wind-up).
            if 0.0 < heat < 120.0:
                integral += 0.1 * error
            if 40.0 < rpm < 180.0:
                stir += 0.002 * oxygen_error
            to_vessel = 30.0 * (jacket - t)
            t += (to_vessel - 1.0 * (t - room) + 0.06 * cells + 2e-7 * rpm**3 - feed) / 8360.0
            jacket += (heat - to_vessel - 0.5 * (jacket - room)) / 1500.0
            # Base below 7.05 until 7.08, CO2 above 7.15 until 7.12: the dead band of a usual controller.
            if ph < 7.05:
                pump = 1.0
            elif ph > 7.08:
                pump = 0.0
            if ph > 7.15:
                co2 = 1.0
            elif ph < 7.12:
                co2 = 0.0
            ph += 2.8e-6 - 1.4e-5 * cells + 1e-3 * pump - 4e-4 * co2
            base += 0.02 * pump
            do += 4.2e-4 * (rpm / 60.0) ** 2 * (100.0 - do) - 0.028 * cells
            cells += 7.8e-6 * cells * (1.0 - cells / 6.5)
    state[:] = (t, jacket, integral, ph, do, stir, cells, base, co2, pump)


@compiled
def incubator(state: Floats, drive: Bytes, phase_s: float, every: int, out: Floats) -> None:
    """A CO2 incubator: heated air over shelves, CO2 in pulses, a water pan; an open door mixes in the room.

    drive[:, 0] is 1 while the door is open.
    """
    air, shelf, co2 = state[0], state[1], state[2]
    humid, integral, valve = state[3], state[4], state[5]
    for row in range(out.shape[0]):
        for step in range(every + 1):
            at = row * every + step
            door = 1.0 if at < drive.shape[0] and drive[at, 0] else 0.0
            if step == 0:
                out[row, 0] = air
                out[row, 1] = co2
                out[row, 2] = humid
                out[row, 3] = door
            if step == every:
                break
            room = 21.0 + 0.8 * math.sin((phase_s + at) * 7.2722e-5)
            error = 37.0 - air
            heat = min(250.0, max(0.0, 80.0 * error + integral))
            if 0.0 < heat < 250.0 and door == 0.0:
                integral += 0.05 * error
            to_shelf = 15.0 * (air - shelf)
            air += (heat - to_shelf - (2.8 + 45.0 * door) * (air - room)) / 3000.0
            shelf += to_shelf / 40000.0
            if co2 < 4.9:
                valve = 1.0
            elif co2 > 5.0:
                valve = 0.0
            co2 += 0.012 * valve - (4.6e-5 + 0.02 * door) * (co2 - 0.04)
            humid += (93.0 - humid) / 1200.0 - door * (humid - 40.0) / 70.0
    state[:] = (air, shelf, co2, humid, integral, valve)


@compiled
def freezer(state: Floats, drive: Bytes, phase_s: float, every: int, out: Floats) -> None:
    """A -20 °C freezer: air, a load with its thermal mass, compressor hysteresis, a defrost every six hours.

    drive[:, 0] is 1 while the door is open: air answers in minutes, the load in hours. The probe lags
    the air by 45 s and is what the thermostat sees.
    """
    air, probe, load = state[0], state[1], state[2]
    compressor, coil = state[3], state[4]
    for row in range(out.shape[0]):
        for step in range(every + 1):
            at = row * every + step
            now = phase_s + at
            door = 1.0 if at < drive.shape[0] and drive[at, 0] else 0.0
            # Eight minutes at 02:00, 08:00, 14:00 and 20:00.
            defrost = 1.0 if (now - 7200.0) % 21600.0 < 480.0 else 0.0
            if step == 0:
                out[row, 0] = probe
                out[row, 1] = load
                out[row, 2] = coil
                out[row, 3] = compressor
                out[row, 4] = defrost
                out[row, 5] = door
                out[row, 6] = -20.0
            if step == every:
                break
            room = 21.0 + 0.8 * math.sin(now * 7.2722e-5)
            if probe > -18.8:
                compressor = 1.0
            elif probe < -21.2:
                compressor = 0.0
            if defrost > 0.0:
                compressor = 0.0
            to_load = 25.0 * (air - load)
            gain = (2.5 + 30.0 * door) * (room - air)
            air += (gain - to_load - 350.0 * compressor + 115.0 * defrost) / 6000.0
            load += to_load / 200000.0
            probe += (air - probe) / 45.0
            coil += (air - 11.0 * compressor + 16.0 * defrost - coil) / 60.0
    state[:] = (air, probe, load, compressor, coil)


@compiled
def shipper(state: Floats, drive: Bytes, phase_s: float, every: int, out: Floats) -> None:
    """A dry vapour shipper: absorbed nitrogen holds the cavity near -190 °C; spent, it warms to the room.

    drive[:, 0] lid open; drive[:, 1] the vacuum leaks: what is left of the nitrogen boils off, and the
    cavity warms with the time constant drive[:, 2] + 256 drive[:, 3] minutes; without leak an empty
    absorber is topped up.
    """
    cavity, mass = state[0], state[1]
    for row in range(out.shape[0]):
        for step in range(every + 1):
            at = row * every + step
            here = at < drive.shape[0]
            lid = 1.0 if here and drive[at, 0] else 0.0
            leak = here and drive[at, 1] > 0
            if step == 0:
                out[row, 0] = cavity
                out[row, 1] = mass
                out[row, 2] = lid
            if step == every:
                break
            room = 21.0 + 0.8 * math.sin((phase_s + at) * 7.2722e-5)
            if leak:
                tau = 60.0 * max(1.0, drive[at, 2] + 256.0 * drive[at, 3])
                mass = max(0.0, mass - 600.0 / tau)
                if mass <= 0.0:
                    cavity += (room - cavity) / tau
            else:
                if mass <= 0.3:
                    mass = 6.0
                mass -= 4.1e-6 * (1.0 + 20.0 * lid)
                # The cavity floats a little above the liquid, higher as the absorber dries.
                cavity += (-190.5 + 0.4 * (6.0 - mass) + 4.0 * lid - cavity) / 150.0
    state[:] = (cavity, mass)
