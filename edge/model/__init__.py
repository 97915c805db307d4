"""The pure half of the agent: points, request plans, decoding, slots, columns.

No clock, no socket, no file, no logging: everything is given and returned.
"""
