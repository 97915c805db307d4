"""What the agent keeps: readings on their way into the outbox, history, and messages it cannot use."""
