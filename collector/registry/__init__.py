"""The journal: the original of everything that was decided here, and the commands that write it."""
