"""Trains, quantises, exports and evaluates the networks that `napari_medsamq` runs."""
