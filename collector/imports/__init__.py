"""Imports: files of loggers, kept as received and turned into readings the way a gateway would send them."""
