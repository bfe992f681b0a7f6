"""Where a later scan of a patient has what an earlier one had: a rigid motion between two images.

Mutual information by Mattes et al. (IEEE TMI 2003) as SimpleITK computes it, which does not mind
another modality or contrast. Several starts are tried, and the best one is refined.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lazy_loader
import numpy as np

from napari_medsamq.array_types import Float64
from napari_medsamq.errors import StoppedError, VolumeError
from napari_medsamq.io.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk
else:  # 70 MB that few sessions need
    sitk = lazy_loader.load("SimpleITK")

# Finer than that the motion of a patient does not become, and the search gets slow.
_VOXEL_MM = 2.0
_MOST_VOXELS = 4_000_000
# But so many voxels along an axis are kept, of those there are: what is small moves by less.
_LEAST_KEPT = 24
_SHRINK, _SMOOTH_MM = (4, 2, 1), (4.0, 2.0, 0.0)
_BINS, _SAMPLED, _LEAST_SAMPLED, _SEED = 50, 0.2, 2000, 1
_ITERATIONS = 150
_STEPS_MM = 2.0, 1e-3
# By how much images of one place agree better than the same with one of them mirrored. Measured:
# the sample CT and MR with themselves, moved: 1.37 and 2.4; with each other: 1.1.
_LEAST_GAIN = 1.2
_MOST_DEGREES = 45.0
# Less along an axis is a slice, not a volume.
_LEAST_VOXELS = 4


@dataclass(frozen=True, eq=False)
class Motion:
    """How a patient lies in a new image, compared with a prior one.

    Attributes
    ----------
    matrix : (4, 4) float64
        Rigid, from LPS mm of the prior image to LPS mm of the new one.
    before, after : float
        Mutual information where the files place the images, and after the motion; higher is
        better. `before` is 0 where the files leave no overlap.
    chance : float
        The same after the motion, but with one image mirrored, so that nothing of it fits.
    """

    matrix: Float64
    before: float
    after: float
    chance: float

    @property
    def degrees(self) -> float:
        """The angle of its rotation."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    @property
    def doubt(self) -> str:
        """What speaks against it; empty for nothing."""
        if self.after < _LEAST_GAIN * self.chance:
            return (
                "the images agree hardly better than when one is mirrored, so this may be no "
                "motion at all. Look whether they are of the same part of one patient"
            )
        if self.degrees > _MOST_DEGREES:
            return "that is a large turn. Look whether the patient lay otherwise"
        return ""

    def shift_at(self, point: Float64) -> Float64:
        """Return by how many mm (3,) it moves a place (3,) of the prior image, in LPS."""
        moved: Float64 = (self.matrix @ [*point, 1.0])[:3] - point
        return moved


def register(prior: Volume, new: Volume, go_on: Callable[[float], bool] = lambda _: True) -> Motion:
    """Find the rigid motion from a prior image of a patient to a new one.

    Starts from where the files place both, from their middles and from their centres of mass, and
    goes on from the one with the most mutual information, with samples drawn by a fixed seed.

    Parameters
    ----------
    prior, new : Volume
    go_on : callable
        Told now and then how much is done, from 0 to 1, in this thread; whether to go on.

    Raises
    ------
    StoppedError
        If `go_on` has said no.
    VolumeError
        If an image has too few slices or holds colours, or the images nowhere overlap.
    """
    moving, fixed = _image(prior), _image(new)
    starts = _starts(fixed, moving)
    values = [_metric(fixed, moving, start) for start in starts if _ask(go_on, 0.0)]
    best = max(range(len(starts)), key=lambda number: values[number])
    found = _refine(fixed, moving, starts[best], go_on)
    after = _metric(fixed, moving, found)
    if after < values[best]:
        found, after = starts[best], values[best]
    if not np.isfinite(after):
        raise VolumeError(
            f"{prior.name} could not be registered to {new.name}: they do not overlap, or one of "
            "them is the same all over. Check that both are of the same part of one patient, or "
            "leave the prior image out."
        )
    # SimpleITK maps from the fixed image to the moving one.
    matrix = np.asarray(np.linalg.inv(_matrix(found)), np.float64)
    mirrored = (_metric(fixed, _mirrored(moving, axis), found) for axis in (1, 2))
    chance = max(value for value in mirrored if _ask(go_on, 1.0))
    return Motion(matrix, max(values[0], 0.0), after, chance)


def describe_motion(motion: Motion, point: Float64) -> str:
    """Say what a registration has found, as the motion of a place (3,) in the prior image."""
    left, back, up = motion.shift_at(point)
    doubt = f" Note: {motion.doubt}." if motion.doubt else ""
    return (
        f"Registered: moved {abs(left):.1f} mm to the {'left' if left >= 0 else 'right'}, "
        f"{abs(back):.1f} mm {'back' if back >= 0 else 'forward'}, {abs(up):.1f} mm "
        f"{'up' if up >= 0 else 'down'}, turned by {motion.degrees:.1f} degrees; mutual "
        f"information {motion.before:.3f} before, {motion.after:.3f} after.{doubt}"
    )


def _image(volume: Volume) -> Any:
    if volume.data.ndim == 4 or min(volume.data.shape[:3]) < _LEAST_VOXELS:
        raise VolumeError(
            f"{volume.name}: only volumes of grey values with {_LEAST_VOXELS} or more voxels along "
            f"each axis can be registered, not one of {volume.data.shape}. Leave the prior image "
            "out."
        )
    spacing, shape = volume.spacing, np.array(volume.data.shape)
    step = np.minimum(np.floor(_VOXEL_MM / spacing), shape // _LEAST_KEPT)
    step = np.maximum(1, step).astype(int)
    while np.prod(np.ceil(shape / step)) > _MOST_VOXELS:
        # Not of a thin axis, which would be gone.
        step[np.argmin(np.where(shape // step > _LEAST_KEPT, step * spacing, np.inf))] += 1
    with np.errstate(over="ignore"):
        values = volume.data.astype(np.float32)
    if not np.isfinite(values).all():
        raise VolumeError(
            f"{volume.name}: has values beyond 3e38, with which it cannot be registered. Leave the "
            "prior image out."
        )
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing[::-1].tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection((volume.affine[:3, :3] / spacing)[:, ::-1].reshape(-1).tolist())
    # Means of blocks, so that noise and fine detail do not alias.
    return sitk.BinShrink(image, step[::-1].tolist()) if (step > 1).any() else image


def _starts(fixed: Any, moving: Any) -> list[Any]:
    identity = sitk.Euler3DTransform()
    identity.SetCenter(_middle(fixed))
    kind = sitk.CenteredTransformInitializerFilter
    starts = [identity]
    # Air at -1000 HU would weigh more than the patient, and negatively.
    lifted = [sitk.ShiftScale(image, -_lowest(image), 1.0) for image in (fixed, moving)]
    for mode in (kind.GEOMETRY, kind.MOMENTS):
        # What has one value all over has no centre of mass.
        with suppress(RuntimeError):
            start = sitk.CenteredTransformInitializer(*lifted, sitk.Euler3DTransform(), mode)
            starts.append(sitk.Euler3DTransform(start))
    return starts


def _ask(go_on: Callable[[float], bool], share: float) -> bool:
    if not go_on(share):
        raise StoppedError("The registration was stopped.")
    return True


def _refine(fixed: Any, moving: Any, start: Any, go_on: Callable[[float], bool]) -> Any:
    method = _method(start)
    size = np.array(fixed.GetSize())
    method.SetMetricSamplingStrategy(method.RANDOM)
    share = float(np.clip(_LEAST_SAMPLED / np.prod(size), _SAMPLED, 1.0))
    method.SetMetricSamplingPercentage(share, _SEED)
    # Of an image smaller than a patient, steps and smoothing are smaller as well.
    small = min(1.0, float((size * fixed.GetSpacing()).max()) / (_VOXEL_MM * _LEAST_KEPT))
    first, last = (small * mm for mm in _STEPS_MM)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=first, minStep=last, numberOfIterations=_ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    levels = [n for n, by in enumerate(_SHRINK) if min(size) // by >= _LEAST_VOXELS]
    method.SetShrinkFactorsPerLevel([_SHRINK[level] for level in levels])
    method.SetSmoothingSigmasPerLevel([small * _SMOOTH_MM[level] for level in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    stopped = False

    def watch() -> None:
        nonlocal stopped
        done = method.GetCurrentLevel() + method.GetOptimizerIteration() / _ITERATIONS
        stopped = stopped or not go_on(done / len(levels))
        if stopped:
            # Ends one level; this is called again at the next one.
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, watch)
    try:
        found = sitk.Euler3DTransform(method.Execute(fixed, moving).GetNthTransform(0))
    except RuntimeError:
        # It went where the images do not overlap; the start is what there is then.
        found = start
    _ask(lambda _: not stopped, 1.0)
    return found


def _metric(fixed: Any, moving: Any, transform: Any) -> float:
    """Return the mutual information; minus infinity where nothing overlaps."""
    try:
        return -float(_method(transform).MetricEvaluate(fixed, moving))
    except RuntimeError:
        return -np.inf


def _method(start: Any) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=_BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(start, inPlace=False)
    return method


def _mirrored(image: Any, axis: int) -> Any:
    """Return an image with its values in reverse order along an axis of its own, x first."""
    found = sitk.Flip(image, [number == axis for number in range(3)])
    # Where it was.
    found.CopyInformation(image)
    return found


def _middle(image: Any) -> Any:
    return image.TransformContinuousIndexToPhysicalPoint(
        [(size - 1) / 2 for size in image.GetSize()]
    )


def _lowest(image: Any) -> float:
    found = sitk.MinimumMaximumImageFilter()
    found.Execute(image)
    return float(found.GetMinimum())


def _matrix(transform: Any) -> Float64:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix[:3, 3] = origin
    return matrix
