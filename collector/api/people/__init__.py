"""Routes about people: accounts, and their own passwords."""
