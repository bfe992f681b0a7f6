"""DICOM, of which the reading runs in a process that has to start light."""
