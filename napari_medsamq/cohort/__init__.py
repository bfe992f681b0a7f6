"""Many cases, on one computer or many."""
