"""The alarm engine: tables, watches, board, key figures."""
