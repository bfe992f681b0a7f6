"""Names for common structures, as TotalSegmentator and radiologists use them."""

from __future__ import annotations

# Wasserthal et al., "TotalSegmentator: Robust Segmentation of 104 Anatomic Structures in CT
# Images", Radiology: Artificial Intelligence 2023; and what is drawn most in oncology.
ORGANS = (
    "Liver",
    "Spleen",
    "Right kidney",
    "Left kidney",
    "Pancreas",
    "Gallbladder",
    "Stomach",
    "Colon",
    "Urinary bladder",
    "Prostate",
    "Uterus",
    "Aorta",
    "Inferior vena cava",
    "Portal vein",
    "Heart",
    "Right lung",
    "Left lung",
    "Trachea",
    "Oesophagus",
    "Thyroid",
    "Brain",
    "Spinal cord",
    "Vertebra",
    "Tumour",
    "Metastasis",
    "Lymph node",
    "Cyst",
    "Haematoma",
)
