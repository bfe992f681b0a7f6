"""The protocol and its scores."""
