"""What is handed out and must be checkable by others: proofs over the log, later the batch record."""
