"""Trains, quantises, exports and evaluates the networks that `napari_medsamq` runs."""

# First of all imports, because it keeps OpenVINO from reporting its use to the network.
import napari_medsamq as napari_medsamq
