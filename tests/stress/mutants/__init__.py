"""Single changes to the code: whether a test notices them."""
