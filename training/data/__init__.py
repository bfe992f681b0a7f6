"""Cases to samples."""
