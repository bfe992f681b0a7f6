"""Checks that take minutes: damaged files, kills, geometry, cohorts."""
