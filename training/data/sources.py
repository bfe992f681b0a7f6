"""Where data sets come from: which share a source, which may be released, and folds by source."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from training.config import Config, Several, load_config, require
from training.errors import ConfigError, DataError

_CONFIGS = Path(__file__).parents[1] / "configs"
_HEAD = "| modality, set | licence | source |\n|---|---|---|\n"
NOT_FOR_RELEASE = "These weights are not for release: their data were not checked for it."


class DataSource(Config):
    """What is known of a data set.

    Attributes
    ----------
    source : str
        Shared by sets that may share patients or images.
    use : "masks", "images" or "nothing"
        What the training takes of it.
    licence, what, credit : str
        As a model's card names it.
    """

    source: str
    use: Literal["masks", "images", "nothing"]
    licence: str
    what: str
    credit: str


class Sources(Config):
    """The data sets that are known.

    Attributes
    ----------
    release_licences : tuple of str
        Those under which weights may be passed on.
    sets : dict of str to DataSource
        By modality and name, as in "MR/Heart".
    """

    release_licences: Several[str]
    sets: dict[str, DataSource]

    def is_shared(self, data_set: str) -> bool:
        """Whether a set is of a source that the training takes something of."""
        own = self.sets.get(data_set)
        return own is not None and own.source in {
            other.source for other in self.sets.values() if other.use != "nothing"
        }

    def require_release(self, data_sets: Iterable[str]) -> None:
        """Refuse sets that weights for release may not be trained on.

        Raises
        ------
        DataError
            If one is not listed, or with a licence that does not allow it.
        """
        for name in sorted(data_sets):
            own = self.sets.get(name)
            if own is None or own.use == "nothing":
                reason = "is not listed there"
            elif own.licence not in self.release_licences:
                reason = f"has the licence {own.licence}"
            else:
                continue
            raise DataError(
                f"{name}: weights for release take only sets that training/configs/sources.yaml "
                f"lists with one of {', '.join(self.release_licences)}, and this one {reason}. "
                "Leave it out, or train without --release."
            )

    def table(self, data_sets: Iterable[str]) -> str:
        """Return what a card says of sets, as Markdown: with masks, then images alone."""
        listed = [self.sets[name] for name in sorted(data_sets)]
        parts = []
        for use, head in (("masks", "With masks:"), ("images", "Images alone:")):
            rows = [
                f"| {own.what} | {own.licence} | {own.credit} |\n"
                for own in listed
                if own.use == use
            ]
            if rows:
                parts.append(f"{head}\n\n{_HEAD}{''.join(rows)}")
        return "\n".join(parts)


class Folds(Config):
    """Three parts of the sources, each left out in turn.

    Attributes
    ----------
    folds : tuple of tuple of str
        Sources.
    """

    folds: tuple[tuple[str, ...], ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _each_source_is_in_one(self) -> Self:
        named = [source for fold in self.folds for source in fold]
        wanted = {own.source for own in read_sources().sets.values() if own.use == "masks"}
        require(len(named) == len(set(named)), "`folds` names a source twice")
        wrong = wanted.symmetric_difference(named)
        require(not wrong, f"`folds` lacks or does not know {', '.join(sorted(wrong))}")
        return self


@cache
def read_sources() -> Sources:
    """Read `configs/sources.yaml`."""
    return load_config(Sources, _CONFIGS / "sources.yaml")


@cache
def read_folds() -> tuple[tuple[str, ...], ...]:
    """Read `configs/folds.yaml`."""
    return load_config(Folds, _CONFIGS / "folds.yaml").folds


def fold_sets(number: int) -> tuple[str, ...]:
    """Return the data sets whose sources a fold leaves out, with masks or without.

    Raises
    ------
    ConfigError
        If there is no such fold.
    """
    folds = read_folds()
    if number not in range(len(folds)):
        raise ConfigError(f"There is no fold {number}. Give one of 0 to {len(folds) - 1}.")
    fold = folds[number]
    return tuple(name for name, own in read_sources().sets.items() if own.source in fold)
