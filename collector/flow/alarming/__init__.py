"""Alarms running: what follows ledger and journal in known order and steps the board."""
