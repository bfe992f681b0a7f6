"""The folder of an ablation: models, the networks that others start from, and scores by row.

Every file is there whole or not at all, so that what is there need not be made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import openvino_core
from napari_medsamq.records.recording import read_box
from training.ablation.rows import AblationConfig
from training.config import changed_keys, config_text
from training.data.cases import NpzCase
from training.errors import ConfigError
from training.evaluation.protocol import Target
from training.evaluation.score_summary import Score
from training.files import write_file

CONFIG = "config.yaml"
# These may change from one call to the next: no network depends on them.
FREE_KEYS = ("limit", "rare_limit", "rounds", "workers")


@dataclass(frozen=True)
class RowScores:
    """What was found out about a row.

    Attributes
    ----------
    objects : list of Score
        Of all modalities.
    rare : list of Score
        Of the rarest modality alone, where a row is looked at for it.
    unscored : dict of str to str
        By data set/case, why it could not be scored.
    """

    objects: list[Score]
    rare: list[Score]
    unscored: dict[str, str]


class AblationFolder:
    """Where the results of an ablation lie.

    Parameters
    ----------
    path : Path
        New or empty, or begun with the same configuration.
    config : AblationConfig

    Raises
    ------
    ConfigError
        If it holds something else, or what another configuration made.
    """

    def __init__(self, path: Path, config: AblationConfig) -> None:
        self.path = path
        file = path / CONFIG
        if file.exists():
            other = ", ".join(changed_keys(file, config, FREE_KEYS))
            if other:
                raise ConfigError(
                    f"{path}: was begun with another {other}, and its rows would not be "
                    f"comparable. Use the values in {CONFIG} there, or give a new folder."
                )
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(
                f"{path}: holds something already that is no ablation. Give a new folder."
            )
        else:
            write_file(file, config_text(config, FREE_KEYS))

    def model(self, row: str) -> Path:
        """Return the model directory of a row."""
        return self.path / "models" / row

    def network(self, row: str) -> Path:
        """Return the network file of a row that others may start from."""
        return self.path / "networks" / f"{row}.pth"

    def is_made(self, row: str) -> bool:
        """Tell whether the model of a row is there; it is written last, and at once."""
        return (self.model(row) / "model.json").exists()

    def read_encoder(self, row: str) -> ov.Model:
        """Read the encoder of a row's model.

        Raises
        ------
        ModelError
            If it cannot be read.
        """
        path = self.model(row) / "encoder.xml"
        try:
            return openvino_core().read_model(path)
        except RuntimeError as error:
            raise ModelError(
                f"{path}: cannot be read. Remove {path.parent}, and it will be made again."
            ) from error

    def write_scores(self, row: str, protocol: Mapping[str, Any], scores: RowScores) -> None:
        """Write the scores of a row, and by which protocol they were found."""
        content = {
            "protocol": dict(protocol),
            "objects": [_to_json(score) for score in scores.objects],
            "rare": [_to_json(score) for score in scores.rare],
            "unscored": scores.unscored,
        }
        write_file(self.path / f"scores/{row}.json", json.dumps(content, indent=1) + "\n")

    def read_scores(self, row: str, protocol: Mapping[str, Any]) -> RowScores | None:
        """Read the scores of a row; None if there are none by this protocol."""
        try:
            content = json.loads((self.path / f"scores/{row}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if content.get("protocol") != dict(protocol):
            return None
        objects, rare = (
            [_from_json(entry) for entry in content[key]] for key in ("objects", "rare")
        )
        return RowScores(objects, rare, content["unscored"])


def _to_json(score: Score) -> dict[str, Any]:
    target = score.target
    case = {**asdict(target.case), "path": str(target.case.path)}
    values = {"dsc": score.dsc, "nsd": score.nsd, "ms": score.ms, "share": score.share}
    return {"case": case, "label_id": target.label_id, "box": asdict(target.box), **values}


def _from_json(entry: Mapping[str, Any]) -> Score:
    case = NpzCase(**{**entry["case"], "path": Path(entry["case"]["path"])})
    target = Target(case, entry["label_id"], read_box({"box": "2d", **entry["box"]}))
    values = {key: entry[key] for key in ("dsc", "nsd", "ms")}
    # Rows that were scored before sizes were told apart have none.
    return Score(target, **values, share=entry.get("share"))
