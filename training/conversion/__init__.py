"""Networks to OpenVINO and back."""
