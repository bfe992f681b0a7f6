"""What the training minimises, sample by sample, so that batches can be split anywhere.

Dice + binary cross entropy on masks, and the distance to a teacher's embedding weighted by how well
the teacher segments the sample: QMedSAM (arXiv 2412.11186).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own abbreviation
from torch import Tensor

# Frame pixels; of what is found where nothing is wanted, half of the loss.
_SMALL_AREA = 256.0


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return 1 - soft Dice with squared terms (Milletari et al., V-Net, 3DV 2016).

    Parameters
    ----------
    logits : (B, H, W) Tensor
    mask : (B, H, W) Tensor
        0 or 1.

    Returns
    -------
    (B,) Tensor
    """
    probability = logits.float().sigmoid().flatten(1)
    mask = mask.flatten(1)
    both = (probability * mask).sum(dim=1)
    sizes = probability.square().sum(dim=1) + mask.square().sum(dim=1)
    return 1 - 2 * both / sizes.clamp(min=1e-5)


def emptiness_loss(logits: Tensor) -> Tensor:
    """Return how far logits (B, H, W) are from an empty mask, 0 to 1 (B,): there Dice says nothing.

    The soft area over itself and that of a small structure.
    """
    area = logits.float().sigmoid().square().flatten(1).sum(dim=1)
    return area / (area + _SMALL_AREA)


def cross_entropy_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the binary cross entropy of each sample (B,), the mean over its pixels."""
    per_pixel = F.binary_cross_entropy_with_logits(logits.float(), mask, reduction="none")
    return per_pixel.flatten(1).mean(dim=1)


def mask_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the intersection over union (B,) of thresholded logits (B, H, W) with a mask."""
    found, wanted = logits.flatten(1) > 0, mask.flatten(1) > 0
    union = (found | wanted).sum(dim=1)
    return (found & wanted).sum(dim=1) / union.clamp(min=1)


def mask_stability(logits: Tensor) -> Tensor:
    """Return how little a mask (B, H, W) depends on its threshold: 0 to 1 (B,).

    As Kirillov et al. ("Segment Anything", ICCV 2023) chose masks: the IoU of those at two
    thresholds; 0 where there is none.
    """
    most, least = ((logits > threshold).flatten(1).sum(dim=1) for threshold in (-1.0, 1.0))
    return least / most.clamp(min=1)


def distillation_loss(embedding: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared distance (B,) of embeddings (B, 256, 64, 64)."""
    return (embedding.float() - teacher.float()).square().flatten(1).mean(dim=1)


def batch_losses(
    student: tuple[Tensor, Sequence[tuple[Tensor, Tensor]]],
    mask: Tensor,
    labelled: Tensor,
    teacher: tuple[Tensor, Tensor | None] | None,
    *,
    remembers: bool = False,
) -> dict[str, Tensor]:
    """Return the terms of the loss of a batch, each the mean over its samples.

    Parameters
    ----------
    student : embedding (B, 256, 64, 64); list of logits (B, 256, 256) and iou (B,)
        One of each for every round of clicks; none where the embeddings alone are taught.
    mask : (B, 256, 256) Tensor
        0 or 1.
    labelled : (B,) Tensor
        1 where the mask is known, 0 where the image counts for the distillation only; between where
        the mask is a teacher's.
    teacher : embedding (B, 256, 64, 64); logits (B, 256, 256) or None; or None
        Of the same images and boxes; None without distillation. Without its logits, its embedding
        is followed on all samples alike.
    remembers : bool
        Whether the teacher is the network of before, whose answers count where no mask is known,
        however sure they are.

    Returns
    -------
    losses : dict of str to () Tensor
        `dice`, `bce` and `iou` (of the predicted IoU) if there are logits; `distill` if there is a
        teacher, `answer` if it gives logits too, to which the first of the student's are compared.
    """
    embedding, answers = student
    terms: dict[str, Tensor] = {}
    if answers:
        rounds = mask_losses(answers, [mask] * len(answers))
        terms = {name: value * labelled for name, value in rounds.items()}
    if teacher is not None:
        terms["distill"] = distillation_loss(embedding, teacher[0])
        if teacher[1] is not None:
            # A teacher that fails on a sample is not worth following there.
            trust = torch.where(labelled == 1, mask_iou(teacher[1], mask), 1.0)
            terms["distill"] = terms["distill"] * trust
            if answers:
                soft = teacher[1].float().sigmoid()
                known = torch.where(labelled == 1, trust, labelled)
                sure = 1 - labelled if remembers else known
                terms["answer"] = cross_entropy_loss(answers[0][0], soft) * sure
    return {name: term.mean() for name, term in terms.items()}


def mask_losses(
    answers: Sequence[tuple[Tensor, Tensor]], masks: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Return `dice`, `bce` and `iou` (of the predicted IoU) of samples (B,), means of all rounds.

    Parameters
    ----------
    answers : sequence of logits (B, 256, 256) and iou (B,)
    masks : sequence of (B, 256, 256) Tensor
        What each was to be, 0 or 1.
    """
    rounds = [_mask_terms(*answer, mask) for answer, mask in zip(answers, masks, strict=True)]
    return {name: torch.stack([own[name] for own in rounds]).mean(dim=0) for name in rounds[0]}


def _mask_terms(logits: Tensor, iou: Tensor, mask: Tensor) -> dict[str, Tensor]:
    return {
        "dice": torch.where(
            mask.flatten(1).any(dim=1), dice_loss(logits, mask), emptiness_loss(logits)
        ),
        "bce": cross_entropy_loss(logits, mask),
        "iou": (iou.float() - mask_iou(logits.detach(), mask)).square(),
    }
