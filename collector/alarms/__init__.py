"""Alarms: the state machine of ISA-18.2 and IEC 62682 over readings and people's commands. Pure."""
