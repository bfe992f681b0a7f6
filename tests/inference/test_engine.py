"""The shipped network against the published one, and what bad model directories are told."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset
from reference import CASES, dsc, stored

from napari_medsamq.errors import ModelError
from napari_medsamq.inference import backend as networks
from napari_medsamq.inference import engine as module
from napari_medsamq.inference.engine import Engines, OpenVINOEngine, box_points
from napari_medsamq.inference.model_choice import MODELS, cpu_features, shipped_models
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import ResizeLongestSide
from napari_medsamq.prompts import CarryPrompt

IMAGE = [1, 3, 256, 256]
EMBEDDING = (1, 256, 64, 64)
EXPORT = r"python -m training\.export"


def published_image(case: str) -> np.ndarray:
    return np.repeat(stored(f"{case}_slice")["image"][None, None], 3, axis=1)


@pytest.fixture(scope="module")
def embeddings(engine: OpenVINOEngine) -> dict[str, np.ndarray]:
    return {case: engine.encode(published_image(case)) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_the_shipped_network_answers_as_the_published_one(
    engine: OpenVINOEngine, embeddings: dict[str, np.ndarray], case: str
) -> None:
    reference, embedding = stored(f"{case}_slice"), embeddings[case]
    assert (embedding.shape, embedding.dtype) == (EMBEDDING, np.float32)
    deviation = np.abs(embedding[0, ::16] - reference["embedding"])
    assert deviation.mean() <= 0.01 * reference["embedding_mean"][1]
    logits, iou = engine.decode(embedding, *box_points(reference["boxes256"]))
    np.testing.assert_allclose(iou, reference["iou"], atol=0.01)
    assert np.abs(logits - reference["logits"]).mean() <= 0.1
    transform = ResizeLongestSide(*reference["slice"].shape)
    for found, mask in zip(logits, reference["masks"], strict=True):
        assert dsc(transform.invert_mask(found), mask) >= 0.995


def test_several_boxes_at_once_answer_as_one_by_one(
    engine: OpenVINOEngine, embeddings: dict[str, np.ndarray]
) -> None:
    boxes = stored("ct_abdomen_slice")["boxes256"]
    embedding = embeddings["ct_abdomen"]
    together, iou = engine.decode(embedding, *box_points(boxes))
    assert (together.shape, iou.shape) == ((3, 256, 256), (3,))
    for box, logits, value in zip(boxes, together, iou, strict=True):
        alone, alone_iou = engine.decode(embedding, *box_points(box))
        np.testing.assert_allclose(alone[0], logits, atol=1e-3)
        assert alone_iou[0] == pytest.approx(value, abs=1e-4)
    assert dsc(together[0] > 0, together[1] > 0) < 0.5


@pytest.mark.parametrize("model", shipped_models(), ids=lambda path: path.name)
def test_the_number_of_threads_does_not_change_the_mask(model: Path) -> None:
    answers = []
    for threads in (1, 2):
        engine = OpenVINOEngine(model, threads=threads)
        embedding = engine.encode(published_image("mr_sarcoma"))
        answers.append(
            engine.decode(embedding, *box_points(stored("mr_sarcoma_slice")["boxes256"]))
        )
    (one, _), (two, _) = answers
    np.testing.assert_allclose(one, two, atol=1e-3)
    np.testing.assert_array_equal(one > 0, two > 0)


def test_answers_stay_when_the_engine_is_asked_again(engine: OpenVINOEngine) -> None:
    first = np.random.default_rng(0).normal(size=EMBEDDING).astype(np.float32)
    logits, _ = engine.decode(first, *box_points([20, 30, 90, 100]))
    before = logits.copy()
    engine.decode(-first, *box_points([120, 130, 190, 200]))
    np.testing.assert_array_equal(logits, before)


def test_a_mask_prompt_steers_the_answer(
    engine: OpenVINOEngine, embeddings: dict[str, np.ndarray]
) -> None:
    embedding = embeddings["mr_sarcoma"]
    points = box_points(stored("mr_sarcoma_slice")["boxes256"])
    logits, _ = engine.decode(embedding, *points)
    steered, _ = engine.decode(embedding, *points, np.full((1, 1, 256, 256), 9, np.float32))
    assert np.abs(steered - logits).max() > 0.1


def test_box_corners_are_points_labelled_2_and_3() -> None:
    coords, labels = box_points([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert coords.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert labels.tolist() == [[2, 3], [2, 3]]
    assert (coords.dtype, labels.dtype) == (np.float32, np.float32)


# -- model directories --------------------------------------------------------------------------


def parameter(name: str, shape: list[int]) -> ov.Node:
    node = opset.parameter(ov.PartialShape(shape), np.float32)
    node.output(0).set_names({name})
    return node


def encoder(image: str = "image", side: int = 64) -> ov.Model:
    """A network with the ports of an encoder that knows nothing."""
    pixels = parameter(image, IMAGE)
    mean = opset.reduce_mean(pixels, opset.constant([0, 1, 2, 3]), True)
    spread = opset.broadcast(mean, opset.constant([1, 256, side, side]))
    spread.output(0).set_names({"image_embedding"})
    return ov.Model([spread], [pixels], "encoder")


def decoder(factor: float = 1, **renamed: str) -> ov.Model:
    """A network with the ports of a decoder, whose answers are sums of the coordinates.

    Multiplied by a factor, which is 10 times as large where there is a mask.
    """
    shapes: dict[str, list[int]] = {
        "image_embedding": list(EMBEDDING),
        "point_coords": [-1, -1, 2],
        "point_labels": [-1, -1],
        "mask_input": [-1, 1, 256, 256],
        "has_mask_input": [1],
    }
    inputs = {name: parameter(renamed.get(name, name), shape) for name, shape in shapes.items()}
    total = opset.reduce_sum(inputs["point_coords"], opset.constant([1, 2]), True)
    nine, one, own = (opset.constant(np.float32(value)) for value in (9, 1, factor))
    masked = opset.add(opset.multiply(inputs["has_mask_input"], nine), one)
    total = opset.multiply(total, opset.multiply(masked, own))
    logits = opset.multiply(total, opset.constant(np.ones((1, 256, 256), np.float32)))
    logits.output(0).set_names({"logits"})
    iou = opset.squeeze(total, opset.constant([1, 2]))
    iou.output(0).set_names({"iou"})
    return ov.Model([logits, iou], list(inputs.values()), "decoder")


def write(directory: Path, *parts: ov.Model) -> Path:
    directory.mkdir(exist_ok=True)
    for name, part in zip(("encoder", "decoder", "carrier"), parts, strict=False):
        ov.save_model(part, directory / f"{name}.xml")
    ModelSpec.describe(directory, name="tiny", bits=32, provenance={}).write(directory)
    return directory


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny", encoder(), decoder())


def edit_spec(directory: Path, **changes: Any) -> None:
    path = directory / "model.json"
    spec = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in spec.items() if value is not None}))


def test_carried_boxes_are_refused_by_a_network_that_has_not_learnt_them(
    engine: OpenVINOEngine, embeddings: dict[str, np.ndarray]
) -> None:
    corners, labels = box_points([10, 20, 60, 70], carried=True)
    assert labels.tolist() == [[4, 5]]
    with pytest.raises(ModelError, match="has not learnt boxes that are carried"):
        engine.decode(embeddings["ct_abdomen"], corners, labels)


def test_a_directory_that_keeps_the_contract_is_accepted(tiny: Path) -> None:
    engine = OpenVINOEngine(tiny)
    assert engine.spec == ModelSpec.read(tiny)
    assert engine.spec.name == "tiny"
    embedding = engine.encode(np.full(IMAGE, 0.25, np.float32))
    np.testing.assert_allclose(embedding, np.full(EMBEDDING, 0.25))
    logits, iou = engine.decode(embedding, *box_points([[1, 2, 3, 4], [0, 0, 1, 1]]))
    assert logits.shape == (2, 256, 256)
    assert iou.tolist() == [10, 2]


def test_carried_boxes_are_answered_by_the_carrier_with_a_mask_or_without(tmp_path: Path) -> None:
    engine = OpenVINOEngine(write(tmp_path / "carrying", encoder(), decoder(), decoder(100)))
    assert engine.spec.carry_prompt is CarryPrompt.carried
    embedding = engine.encode(np.zeros(IMAGE, np.float32))
    mask = np.zeros((1, 1, 256, 256), np.float32)
    boxes = [[1, 2, 3, 4], [0, 0, 1, 1]]
    drawn, carried = box_points(boxes), box_points(boxes, carried=True)
    asked = [(drawn, None), (drawn, mask), (carried, None), (carried, mask), (drawn, None)]
    found = [engine.decode(embedding, *points, given)[1].tolist() for points, given in asked]
    assert found == [[10, 2], [100, 20], [1000, 200], [10000, 2000], [10, 2]]


def test_a_carrier_that_is_altered_or_half_there_is_refused(tmp_path: Path) -> None:
    directory = write(tmp_path / "carrying", encoder(), decoder(), decoder())
    hashes = ModelSpec.read(directory).sha256
    edit_spec(
        directory, sha256={name: own for name, own in hashes.items() if name != "carrier.bin"}
    )
    with pytest.raises(ModelError, match=r"carrier\.bin where there are such"):
        OpenVINOEngine(directory)
    edit_spec(directory, sha256=hashes)
    (directory / "carrier.xml").write_text("<net/>")
    with pytest.raises(ModelError, match=r"carrier\.xml is not the file"):
        OpenVINOEngine(directory)


def test_a_spec_reads_back_as_written(tmp_path: Path) -> None:
    names = ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin")
    spec = ModelSpec("a", 8, dict.fromkeys(names, "0"), {"licence": "Größe"})
    assert spec.write(tmp_path) == tmp_path / "model.json"
    assert ModelSpec.read(tmp_path) == spec


def lose_folder(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))


def lose(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def alter(directory: Path) -> None:
    path = directory / "encoder.bin"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def text(content: str) -> Callable[[Path], Any]:
    return lambda directory: (directory / "model.json").write_text(content, encoding="utf-8")


def spec(**changes: Any) -> Callable[[Path], None]:
    return lambda directory: edit_spec(directory, **changes)


@pytest.mark.parametrize(
    ("damage", "names", "cure"),
    [
        (lose_folder, "tiny", EXPORT),
        (lose("model.json"), "model.json", EXPORT),
        (lose("encoder.xml"), "encoder.xml", "Install the model again"),
        (lose("decoder.bin"), "decoder.bin", "Install the model again"),
        (alter, "encoder.bin", "install or export the model again"),
        (text('{"name": "tin'), "model.json", "Install the model again"),
        (text("\x00\xff"), "model.json", "Install the model again"),
        (text("[]"), "model.json", "export the model again"),
        (spec(format_version=4), "model.json", "Update napari-medsamq or export"),
        (spec(bits=None), "model.json", "Export the model again"),
        (spec(colour="blue"), "model.json", "Export the model again"),
        (spec(preprocessing={"resize": "cubic"}), "model.json", "Export the model again"),
        (spec(image_size=1024), "model.json", "Export the model again"),
        (spec(sha256={"encoder.xml": "0"}), "model.json", "Export the model again"),
    ],
    ids=[
        *("no folder", "no spec", "no network", "no weights", "altered weights", "cut spec"),
        *("spec not text", "spec no object", "version", "field missing", "field unknown"),
        *("other resize", "other size", "hashes missing"),
    ],
)
def test_a_damaged_directory_is_refused_with_its_cure(
    tiny: Path, damage: Callable[[Path], Any], names: str, cure: str
) -> None:
    damage(tiny)
    with pytest.raises(ModelError, match=cure) as refusal:
        OpenVINOEngine(tiny)
    assert str(tiny) in str(refusal.value)
    assert names in str(refusal.value)


@pytest.mark.parametrize(
    ("networks", "file", "found"),
    [
        ((encoder("picture"), decoder()), "encoder.xml", "picture"),
        ((encoder(side=32), decoder()), "encoder.xml", "[1,256,32,32]"),
        ((encoder(), decoder(point_coords="points")), "decoder.xml", "points"),
        ((decoder(), encoder()), "encoder.xml", "mask_input"),
    ],
    ids=["input name", "output shape", "decoder input", "swapped"],
)
def test_networks_with_other_ports_are_refused(
    tmp_path: Path, networks: tuple[ov.Model, ov.Model], file: str, found: str
) -> None:
    directory = write(tmp_path / "other", *networks)
    with pytest.raises(ModelError, match=EXPORT) as refusal:
        OpenVINOEngine(directory)
    assert str(directory / file) in str(refusal.value)
    assert found in str(refusal.value)


def test_a_file_that_is_no_network_is_refused(tiny: Path) -> None:
    (tiny / "decoder.xml").write_text("<net/>")
    ModelSpec.describe(tiny, name="tiny", bits=32, provenance={}).write(tiny)
    with pytest.raises(ModelError, match=rf"cannot read .*decoder\.xml.*{EXPORT}"):
        OpenVINOEngine(tiny)


def test_an_unknown_device_is_refused_with_those_there_are(tiny: Path) -> None:
    with pytest.raises(ModelError, match=r"encoder\.xml on device 'ABACUS'.*Choose one of CPU"):
        OpenVINOEngine(tiny, device="ABACUS")


def test_openvino_may_choose_the_device(tiny: Path) -> None:
    image = np.random.default_rng(0).random(IMAGE, np.float32)
    on_cpu, chosen = (OpenVINOEngine(tiny, device=name).encode(image) for name in ("CPU", "AUTO"))
    np.testing.assert_array_equal(on_cpu, chosen)


def test_an_engine_is_loaded_once_for_all_images_of_its_kind(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "default_model", lambda modality: tiny)
    engines = Engines()
    assert engines.for_modality("CT") is engines.for_modality("other")
    with pytest.raises(ModelError, match="ABACUS"):
        Engines(tiny, "ABACUS").for_modality("CT")


def test_compiled_networks_are_kept_for_the_next_start(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "user_cache_path", lambda name: tmp_path / "cache" / name)
    OpenVINOEngine(tiny)
    kept = list((tmp_path / "cache" / "napari-medsamq" / "openvino").rglob("*.blob"))
    assert len(kept) == 2
    before = [(path, path.stat().st_mtime_ns) for path in kept]
    OpenVINOEngine(tiny)
    assert [(path, path.stat().st_mtime_ns) for path in kept] == before, (
        "they are taken as they are"
    )


def test_what_versions_of_before_have_compiled_is_thrown_away_and_nothing_else(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(networks.CACHE_VARIABLE, str(tmp_path / "cache"))
    before = ["7.blob", "other-encoder-1/12.blob", "other-encoder-1/12.sha256"]
    others = ["notes.txt", "2024.nii.gz", "more/7.txt", "other/encoder-0123456789abcdef.blob"]
    for name in (*before, *others):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    OpenVINOEngine(tiny)
    assert not (tmp_path / "cache" / "7.blob").exists()
    assert not (tmp_path / "cache" / "other-encoder-1").exists()
    assert all((tmp_path / "cache" / name).exists() for name in others)


def flipped(data: bytes) -> bytes:
    """A network with a wrong weight is one that OpenVINO would load."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda data: data[: len(data) // 2], lambda data: b"", lambda data: bytes(len(data))],
    ids=["a bit", "cut", "empty", "zeros"],
)
def test_a_damaged_compiled_network_is_thrown_away_and_made_again(
    damage: Callable[[bytes], bytes], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(networks.CACHE_VARIABLE, str(tmp_path / "cache"))
    image, box = np.full(IMAGE, 0.5, np.float32), box_points([8, 8, 200, 200])
    engine = OpenVINOEngine(tiny)
    expected = engine.decode(engine.encode(image), *box)[0]
    kept = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*.blob")}
    assert len(kept) == 2
    for path, data in kept.items():
        path.write_bytes(damage(data))
    engine = OpenVINOEngine(tiny)
    np.testing.assert_array_equal(engine.decode(engine.encode(image), *box)[0], expected)
    again = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*.blob")}
    assert again.keys() == kept.keys()
    for path, data in again.items():
        assert data != damage(kept[path])
        assert data[:32] == hashlib.sha256(data[32:]).digest()


def test_a_network_that_was_compiled_for_another_model_or_setting_is_not_taken(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(networks.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(networks, "_MOST_KEPT", 3)
    embedding, box = np.zeros(EMBEDDING, np.float32), box_points([1, 2, 3, 4])
    assert OpenVINOEngine(tiny).decode(embedding, *box)[1] == [10]
    write(tiny, encoder(), decoder(100))
    assert OpenVINOEngine(tiny).decode(embedding, *box)[1] == [1000]
    OpenVINOEngine(tiny, threads=1)
    assert len(list((tmp_path / "cache").rglob("*.blob"))) == 3, "the oldest are thrown away"


def test_a_cache_folder_that_cannot_be_made_is_done_without(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(networks, "user_cache_path", lambda name: tmp_path / "file" / name)
    OpenVINOEngine(tiny).encode(np.zeros(IMAGE, np.float32))
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_a_processor_without_avx2_is_told_what_it_lacks(
    machine: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks.platform, "machine", lambda: machine)
    monkeypatch.setattr(networks, "cpu_features", lambda: frozenset({"avx"}))
    with pytest.raises(ModelError, match=r"has no AVX2, .* Use a computer with one of 2015"):
        OpenVINOEngine(tiny)


@pytest.mark.skipif(sys.platform != "linux", reason="signals and their stacks as on Linux")
def test_a_signal_is_survived_after_engines_ended(tiny: Path) -> None:
    code = f"""
import gc, os, signal
from pathlib import Path
from napari_medsamq.inference.engine import OpenVINOEngine
from napari_medsamq.prompts import CarryPrompt

engines = [OpenVINOEngine(Path({str(tiny)!r})) for _ in range(3)]
while engines:
    del engines[0]
    gc.collect()
seen = []
signal.signal(signal.SIGCHLD, lambda number, frame: seen.append(number))
os.kill(os.getpid(), signal.SIGCHLD)
assert seen
"""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def masks_of(engine: OpenVINOEngine) -> np.ndarray:
    """The masks of all stored boxes, on a CT and an MR."""
    return np.concatenate(
        [
            engine.decode(
                engine.encode(published_image(case)),
                *box_points(stored(f"{case}_slice")["boxes256"]),
            )[0]
            > 0
            for case in CASES
        ]
    )


@pytest.mark.skipif(networks.platform.machine() != "x86_64", reason="limits instructions of x86")
@pytest.mark.parametrize(("limit", "floating"), [("AVX2", ["decoder"]), ("AVX2_VNNI", [])])
def test_a_processor_without_dot_products_gives_the_same_masks(
    limit: str, floating: list[str], tmp_path: Path
) -> None:
    code = f"""
import sys, json
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]!r}
import numpy as np
from test_engine import MODELS, OpenVINOEngine, masks_of
engine = OpenVINOEngine(MODELS / "medsamq-fast")
np.save({str(tmp_path / "masks.npy")!r}, masks_of(engine))
print(json.dumps(engine.floating))
"""
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=limited, text=True
    )
    # Held to AVX-VNNI, a processor without it has AVX2.
    assert json.loads(done.stdout) == (floating if "avx_vnni" in cpu_features() else ["decoder"])
    native = masks_of(OpenVINOEngine(MODELS / "medsamq-fast"))
    found = [dsc(*pair) for pair in zip(np.load(tmp_path / "masks.npy"), native, strict=True)]
    assert np.mean(found) >= 0.98


def test_a_processor_that_openvino_cannot_use_is_refused_in_words(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "cpu_features", lambda: frozenset({"sse4_2"}))
    monkeypatch.setattr(networks.platform, "machine", lambda: "AMD64")
    with pytest.raises(ModelError, match=r"has no AVX2.*Use a computer"):
        OpenVINOEngine(tiny)
