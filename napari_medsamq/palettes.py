"""Colours that labels are given in turn until their users choose others."""

from __future__ import annotations

# Okabe & Ito (2008): eight colours that people with any colour vision tell apart; black is left out
# because it vanishes on CT.
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
# The names are those of the preferences, in `napari.yaml`.
PALETTES = {
    "Okabe and Ito, 7 colours, for any colour vision": OKABE_ITO,
    # Tol, "Colour Schemes", SRON/EPS/TN/09-002 (2021): bright, without its grey.
    "Tol's bright, 6 colours, for any colour vision": (
        "#4477AA",
        "#EE6677",
        "#228833",
        "#CCBB44",
        "#66CCEE",
        "#AA3377",
    ),
    # Kelly, "Twenty-two colors of maximum contrast", Color Engineering 3 (1965), without those
    # that vanish on a grey picture; the later ones of it look alike to some.
    "Kelly's, 18 colours, for many labels": (
        "#F3C300",
        "#875692",
        "#F38400",
        "#A1CAF1",
        "#BE0032",
        "#C2B280",
        "#008856",
        "#E68FAC",
        "#0067A5",
        "#F99379",
        "#604E97",
        "#F6A600",
        "#B3446C",
        "#DCD300",
        "#882D17",
        "#8DB600",
        "#654522",
        "#E25822",
    ),
}
