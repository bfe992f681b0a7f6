"""What each choice of the method gives."""
