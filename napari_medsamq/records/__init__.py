"""What is written down about a label: journal, provenance, report."""
