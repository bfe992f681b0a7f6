"""Widgets that know values and no session."""
