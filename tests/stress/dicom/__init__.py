"""Made-up DICOM series, read by this program and by dcm2niix."""
