"""Where alarms are kept: the board, the log of its moves, and the outbox of annunciations."""
