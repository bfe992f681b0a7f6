"""The contract of a model directory, written by the export and read by the engine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.preprocess import BoxRule
from napari_medsamq.io.files import file_hash, write_whole
from napari_medsamq.prompts import CarryPrompt

NetworkPart = Literal["encoder", "decoder", "carrier"]

FORMAT_VERSION = 3
FLOAT_BITS = 32

_FILES = ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin")
# Of networks that have learnt to carry a structure from slice to slice.
_CARRIER_FILES = ("carrier.xml", "carrier.bin")
_SPEC_FILE = "model.json"


@dataclass(frozen=True)
class Preprocessing:
    """What a model expects of its image and its boxes; but for these, one value exists so far."""

    resize: str = "longest side, OpenCV INTER_AREA on uint8"
    normalisation: str = "minimum-maximum to [0, 1], then zero padding right and bottom"
    box: BoxRule = BoxRule.far_edge


@dataclass(frozen=True)
class ModelSpec:
    """The contract of a model directory, written by the export and checked by the engine.

    Attributes
    ----------
    name : str
        Name of the model directory.
    bits : int
        Bit width of weights and activations; `FLOAT_BITS` for a float network.
    sha256 : dict of str to str
        Hash of each IR file.
    provenance : dict of str to str
        Where the weights come from: source, licence, training run, versions.
    image_size : int
        Side of the square image in pixels.
    format_version : int
        Version of this contract.
    preprocessing : Preprocessing
        How a slice becomes an image, and a box corners in it.
    scores : dict of str to dict of str to float
        `dsc` and `nsd` on cases that the model was not trained on, by modality and for `all`;
        empty where they are unknown.
    """

    name: str
    bits: int
    sha256: dict[str, str]
    provenance: dict[str, str]
    image_size: int = 256
    format_version: int = FORMAT_VERSION
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def describe(
        cls,
        directory: Path,
        *,
        name: str,
        bits: int,
        provenance: dict[str, str],
        box: BoxRule = BoxRule.far_edge,
    ) -> ModelSpec:
        """Describe the IR files that lie in `directory`, and by which rule they get boxes.

        Raises
        ------
        ModelError
            If a file of encoder or decoder is missing.
        """
        carries = (directory / _CARRIER_FILES[0]).exists()
        files = _FILES + _CARRIER_FILES if carries else _FILES
        hashes = {file: _sha256(directory / file) for file in files}
        return cls(name, bits, hashes, dict(provenance), preprocessing=Preprocessing(box=box))

    def write(self, directory: Path) -> Path:
        """Write `model.json` into `directory` and return its path."""
        path = directory / _SPEC_FILE
        text = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        write_whole(path, text)
        return path

    @classmethod
    def read(cls, directory: Path) -> ModelSpec:
        """Read `model.json` from `directory`; the IR files are not touched.

        One of version 1 says nothing of boxes. Its network gets them up to their far edge, as that
        is better for networks that were trained before there was this rule, too.

        Raises
        ------
        ModelError
            If the file is missing, damaged, or of a version this program does not know.
        """
        path = directory / _SPEC_FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(
                f"{directory} is not a model directory: {path.name} cannot be read "
                f"({error.strerror}). Choose a folder that `python -m training.export` wrote."
            ) from error
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path} is damaged ({error}). Install the model again.") from error
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version not in range(1, FORMAT_VERSION + 1):
            raise ModelError(
                f"{path} has format version {version!r}; this program reads versions 1 to "
                f"{FORMAT_VERSION}. Update napari-medsamq or export the model again."
            )
        try:
            asked = raw["preprocessing"] | ({"box": BoxRule.far_edge} if version == 1 else {})
            raw["preprocessing"] = Preprocessing(**{**asked, "box": BoxRule(asked["box"])})
            raw["format_version"] = FORMAT_VERSION
            spec = cls(**raw)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path} lacks or misnames a field: {error}. Export the model again."
            ) from error
        spec._check(path)
        return spec

    def _check(self, path: Path) -> None:
        # It is written down beside labels, where no folder is.
        if not isinstance(self.name, str) or not self.name or set(self.name) & set("/\\"):
            raise ModelError(
                f"{path} calls the model {self.name!r}; the name of its folder alone is expected. "
                "Export the model again."
            )
        known = [Preprocessing(box=box) for box in (BoxRule.far_edge, BoxRule.published)]
        if self.image_size != 256 or self.preprocessing not in known:
            raise ModelError(
                f"{path} asks for a {self.image_size} px image and {self.preprocessing}; this "
                f"program prepares 256 px images by {' or '.join(map(str, known))}. Export the "
                "model again."
            )
        listed = set(self.sha256) if isinstance(self.sha256, dict) else set()
        if listed - set(_CARRIER_FILES) != set(_FILES) or len(listed) % 2:
            raise ModelError(
                f"{path} must list a SHA-256 for exactly {', '.join(_FILES)}, and for "
                f"{' and '.join(_CARRIER_FILES)} where there are such. Export the model again."
            )
        if not isinstance(self.provenance, dict) or not all(
            isinstance(value, str) for value in self.provenance.values()
        ):
            raise ModelError(f"{path} must give provenance as texts. Export the model again.")
        if not isinstance(self.scores, dict) or not all(map(_is_score, self.scores.values())):
            raise ModelError(
                f"{path} must list scores as modality: {{dsc: number, nsd: number}}. Export the "
                "model again."
            )

    @property
    def carry_prompt(self) -> CarryPrompt:
        """What the network is asked with where a structure is carried to: what it has learnt."""
        if _CARRIER_FILES[0] in self.sha256:
            return CarryPrompt.carried
        learnt = self.provenance.get("prompts", "")
        return CarryPrompt.box_and_mask if "masks" in learnt else CarryPrompt.box

    def verify(self, directory: Path) -> None:
        """Compare the IR files in `directory` with the hashes of this spec.

        Raises
        ------
        ModelError
            If a file is missing or differs.
        """
        for file, expected in self.sha256.items():
            if _sha256(directory / file) != expected:
                raise ModelError(
                    f"{directory / file} is not the file that {_SPEC_FILE} describes: its SHA-256 "
                    "differs. It was altered or damaged; install or export the model again."
                )


def _is_score(entry: object) -> bool:
    return isinstance(entry, dict) and all(type(value) is float for value in entry.values())


def _sha256(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise ModelError(
            f"The model file {path} cannot be read ({error.strerror}). Install the model again."
        ) from error
