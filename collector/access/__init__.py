"""Who may do what: accounts, sessions, tokens and rights. Knows nothing of HTTP routes."""
