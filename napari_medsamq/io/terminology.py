"""Names for common structures, as TotalSegmentator and radiologists use them."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Concept:
    """What DICOM says of a segment: codes of SNOMED CT, each with its meaning.

    Attributes
    ----------
    category, kind : (str, str)
        Segmented property category (CID 7150) and type (CID 7151).
    side : (str, str) or None
        Laterality (CID 244).
    """

    category: tuple[str, str]
    kind: tuple[str, str]
    side: tuple[str, str] | None = None


_ANATOMICAL = ("91723000", "Anatomical Structure")
_ABNORMAL = ("49755003", "Morphologically Abnormal Structure")
_TISSUE = ("85756007", "Tissue")
_SIDES = {"Right": ("24028007", "Right"), "Left": ("7771000", "Left")}

_STRUCTURES = {
    "Liver": ("10200004", "Liver"),
    "Spleen": ("78961009", "Spleen"),
    "kidney": ("64033007", "Kidney"),
    "Pancreas": ("15776009", "Pancreas"),
    "Gallbladder": ("28231008", "Gallbladder"),
    "Stomach": ("69695003", "Stomach"),
    "Colon": ("71854001", "Colon"),
    "Urinary bladder": ("89837001", "Bladder"),
    "Prostate": ("41216001", "Prostate"),
    "Uterus": ("35039007", "Uterus"),
    "Aorta": ("15825003", "Aorta"),
    "Inferior vena cava": ("64131007", "Inferior vena cava"),
    "Portal vein": ("32764006", "Portal vein"),
    "Heart": ("80891009", "Heart"),
    "lung": ("39607008", "Lung"),
    "Trachea": ("44567001", "Trachea"),
    "Oesophagus": ("32849002", "Esophagus"),
    "Thyroid": ("69748006", "Thyroid"),
    "Brain": ("12738006", "Brain"),
    "Spinal cord": ("2748008", "Spinal cord"),
    "Vertebra": ("51282000", "Vertebra"),
    "Lymph node": ("59441001", "Lymph Node"),
}
_FINDINGS = {
    "Tumour": ("108369006", "Neoplasm"),
    "Metastasis": ("128462008", "Metastasis"),
    "Cyst": ("367643001", "Cyst"),
    "Haematoma": ("35566002", "Hematoma"),
}


def concept(name: str) -> Concept:
    """Return what a label of that name is; tissue of no further kind where it is none of `ORGANS`.

    Examples
    --------
    >>> concept("left kidney")  # doctest: +NORMALIZE_WHITESPACE
    Concept(category=('91723000', 'Anatomical Structure'), kind=('64033007', 'Kidney'),
            side=('7771000', 'Left'))
    """
    wanted = name.strip().casefold()
    known = next((organ for organ in ORGANS if organ.casefold() == wanted), None)
    if known is None:
        return Concept(_TISSUE, _TISSUE)
    if known in _FINDINGS:
        return Concept(_ABNORMAL, _FINDINGS[known])
    side, _, rest = known.partition(" ")
    if side in _SIDES:
        return Concept(_ANATOMICAL, _STRUCTURES[rest], _SIDES[side])
    return Concept(_ANATOMICAL, _STRUCTURES[known])
