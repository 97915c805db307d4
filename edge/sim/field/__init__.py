"""A field of simulated devices that misbehave on command: `telomere sim`.

Frames, servers and faults are written from the Modbus specification, without a line of the agent's own
drivers, so that both ends are not the same code. Only `lines`, `sensors` and `site` open sockets.
"""
