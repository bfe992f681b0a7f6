"""What is computed in floating point means the same as before."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest

from napari_medsamq.inference import floating_point
from napari_medsamq.inference.backend import openvino_core, read_part, without_mask
from napari_medsamq.inference.engine import box_points
from napari_medsamq.inference.floating_point import in_floating_point
from napari_medsamq.inference.model_choice import FAST_MODEL, MODELS

BOXES = [[64, 64, 192, 192], [30, 80, 100, 150], [10, 10, 240, 240]]


def operations(model: ov.Model, kind: str) -> int:
    return sum(node.get_type_name() == kind for node in model.get_ordered_ops())


def decoded(model: ov.Model, masks: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    points, labels = box_points(BOXES)
    inputs = {
        "image_embedding": rng.standard_normal((1, 256, 64, 64)).astype(np.float32),
        "point_coords": points,
        "point_labels": labels,
    }
    if masks:
        inputs["mask_input"] = rng.standard_normal((3, 1, 256, 256)).astype(np.float32)
        inputs["has_mask_input"] = np.ones(1, np.float32)
    compiled = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    logits: np.ndarray = compiled(inputs)["logits"]
    return logits


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "boxes and masks"])
def test_attention_between_tokens_and_image_means_the_same(
    masks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten = in_floating_point(read_part(MODELS / FAST_MODEL, "decoder"))
    monkeypatch.setattr(floating_point, "_PLACES", 0)  # no attention is one to the image
    plain = in_floating_point(read_part(MODELS / FAST_MODEL, "decoder"))
    assert operations(rewritten, "Transpose") < operations(plain, "Transpose")
    if not masks:
        plain, rewritten = without_mask(plain), without_mask(rewritten)
    np.testing.assert_allclose(decoded(rewritten, masks), decoded(plain, masks), atol=1e-3)


def test_no_rounding_and_no_integer_is_left() -> None:
    for part in ("encoder", "decoder"):
        model = in_floating_point(read_part(MODELS / FAST_MODEL, part))  # type: ignore[arg-type]
        assert operations(model, "FakeQuantize") == 0
        constants = [n for n in model.get_ordered_ops() if n.get_type_name() == "Constant"]
        assert ov.Type.i8 not in {node.get_element_type() for node in constants}
