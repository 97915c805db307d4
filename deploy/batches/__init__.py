"""Batches on the command line: what is asked of a running collector, and the forms of its answers."""
