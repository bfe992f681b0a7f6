"""Float networks, written once; the parameter names are those of the published LiteMedSAM."""
