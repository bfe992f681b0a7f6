"""One action of the user each."""
