"""A network that learns from its user's corrections."""
