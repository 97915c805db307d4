"""Simulated equipment that answers over real sockets: for the demo and for tests.

Never imported by the agent at run time: `deploy` and `tests` are its only users. Physics is pure and
deterministic by seed; only `modbus` and `mqtt` open sockets.
"""
