"""The label that grows: session, history, review."""
