"""The ablation makes each row once, goes on where it stopped, and tells what each row costs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")
pytest.importorskip("matplotlib")

import torch
import typer
from small_run import OneLookDecoder, SmallEncoder, write_cases
from torch import nn
from typer.testing import CliRunner

from training import ablate
from training.ablation import comparison
from training.ablation import methods as ablation_methods
from training.ablation import reduce as slim
from training.ablation.comparison import AblationOutcome, run_rows, write_results
from training.ablation.examination import Examination, rarest_modality
from training.ablation.folder import AblationFolder
from training.ablation.methods import NetworkFactory, part_of, scaled_quotas
from training.ablation.rows import ROWS, TABLES, AblationConfig, AblationRow, choose_rows
from training.config import load_config
from training.data.config import DataConfig
from training.data.dataset import SliceDataset
from training.errors import ConfigError, DataError
from training.learning.processes import Processes
from training.models import sam
from training.models.sam import ENCODERS, PUBLISHED, LiteMedSAM
from training.models.tiny_vit import MBConv, Mlp, PatchMerging, TinyViT, WindowAttention
from training.quantization.quantized_network import QuantConfig, fold_batch_norm

ENCODER = QuantConfig(parts="encoder")
TEST_ROWS = (
    AblationRow("float", "as published", ("bits", "subset", "compression"), "float"),
    AblationRow("ptq", "not trained", ("bits", "subset"), "ptq", quant=ENCODER),
    AblationRow("qat", "trained", ("bits",), "qat", "ptq"),
    AblationRow("all", "decoder of all", ("subset",), "decoder", "ptq", strategy="all"),
    AblationRow("lost", "of no modality", ("subset",), "decoder", "ptq", strategy="counts"),
    AblationRow("later", "after a lost one", ("bits",), "qat", "lost"),
    AblationRow("pruned", "narrow", ("compression",), "pruned", "ptq"),
)
KEYS = (
    *("calibration_samples=1", "training_samples=2", "batch_size=2", "subset_samples=4"),
    *("subset_batch=2", "subset_counts={PET: 1}", "limit=2", "rounds=1", "correct_bias=false"),
)


class BlockEncoder(SmallEncoder):
    """With hidden channels to prune, at a quarter of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(self.conv, MBConv(16))


def build() -> LiteMedSAM:
    torch.manual_seed(0)
    return LiteMedSAM(BlockEncoder()).eval()


def config(cases: Path, *keys: str) -> AblationConfig:
    return load_config(AblationConfig, overrides=[f"data={cases}", *KEYS, *keys])


class Ablation:
    """An ablation of small networks in a folder, which counts what is made."""

    def __init__(self, cases: Path, out: Path, *keys: str) -> None:
        self.settings = config(cases, *keys)
        self.folder = AblationFolder(out, self.settings)
        self.data = SliceDataset(self.settings)
        alone = Processes(0, 1, torch.device("cpu"))
        source = {"source": "test"}
        self.factory = NetworkFactory(self.settings, self.folder, self.data, build, source, alone)
        self.made: list[str] = []
        self.factory_make = self.factory.make
        self.factory.make = self._make  # type: ignore[method-assign]
        limits = self.settings.limit, self.settings.rare_limit
        self.examination = Examination(cases, "CT", *limits, self.settings.seed)

    def _make(self, row: AblationRow) -> None:
        self.made.append(row.name)
        self.factory_make(row)

    def run(self, rows: tuple[AblationRow, ...] = TEST_ROWS) -> AblationOutcome:
        return run_rows(rows, self.factory, self.folder, self.examination)

    def write(self, outcome: AblationOutcome) -> dict[str, Any]:
        tables = ("bits", "subset", "compression")
        return write_results(TEST_ROWS, outcome, self.folder, self.examination, 1, tables)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cases"))


def use_small_networks(patch: pytest.MonkeyPatch) -> None:
    """Build and read small networks; that real decoders become models is another test's matter."""
    patch.setitem(ENCODERS, PUBLISHED, BlockEncoder)
    patch.setattr(sam, "MaskDecoder", lambda _hidden: OneLookDecoder())
    # Whether it finds the right strength is another test's matter.
    patch.setattr(ablation_methods, "match_latency", lambda ratio, most: 8 if ratio(8) > 0 else 0)
    patch.setattr(comparison, "measure", fake_times)


def fake_times(models: Sequence[Path], rounds: int) -> dict[str, dict[str, float]]:
    return {
        model.name: {"encode": 100.0 * number, "decode": 11.0, "decode5": 0.0}
        for number, model in enumerate(models, start=1)
    }


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small wait for each other's threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_networks(monkeypatch)


@pytest.fixture(scope="module")
def finished(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """An ablation that was run once, for tests that only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_networks(patch)
        ablation = Ablation(cases, tmp_path_factory.mktemp("ablation") / "out")
        outcome = ablation.run()
        summary = ablation.write(outcome)
    return SimpleNamespace(ablation=ablation, outcome=outcome, summary=summary)


def test_each_row_stands_once_and_after_what_it_starts_from() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    for number, row in enumerate(ROWS):
        assert set(row.tables) <= set(TABLES)
        assert row.start is None or row.start in names[:number]
    made = [(r.method, r.start, r.quant, r.strategy, r.part) for r in ROWS]
    assert all(made.count(how) == 1 for how in made)
    for table in TABLES:
        assert sum(table in row.tables for row in ROWS) >= 3
        assert "float" in {row.name for row in ROWS if table in row.tables}


def test_rows_of_several_tables_are_chosen_once_with_what_they_need() -> None:
    names = [row.name for row in choose_rows(["parts", "weights"])]
    weights = ["ptq-8-tensor", "ptq-8-uneven"]
    assert names == ["float", "ptq-8", "ptq-8-encoder", "ptq-8-decoder", *weights]
    assert choose_rows([]) == list(ROWS)
    rows = (
        AblationRow("a", "", ("bits",), "ptq"),
        AblationRow("b", "", ("bits",), "qat", "a"),
        AblationRow("c", "", ("subset",), "decoder", "b"),
        AblationRow("d", "", ("bits",), "ptq"),
    )
    assert [row.name for row in choose_rows(["subset"], rows)] == ["a", "b", "c"]
    with pytest.raises(ConfigError, match=r"There is no table bit;.*bits"):
        choose_rows(["bit"])


def test_rows_are_made_once_and_a_failing_one_is_reported(finished: SimpleNamespace) -> None:
    outcome = finished.outcome
    assert finished.ablation.made == ["float", "ptq", "qat", "all", "lost", "pruned"]
    assert list(outcome.scores) == ["float", "ptq", "qat", "all", "pruned"]
    assert set(outcome.failed) == {"lost", "later"}
    assert "asks for PET" in outcome.failed["lost"]
    assert "starts from lost" in outcome.failed["later"]
    text = (finished.ablation.folder.path / "ablation.md").read_text(encoding="utf-8")
    assert "- lost: DataError" in text


def test_every_table_has_its_rows_with_all_numbers(finished: SimpleNamespace) -> None:
    folder = finished.ablation.folder
    text = (folder.path / "ablation.md").read_text(encoding="utf-8")
    whole = json.loads((folder.path / "ablation.json").read_text(encoding="utf-8"))
    tables = {
        part.splitlines()[0]: [line.split(" | ") for line in part.splitlines() if "|" in line]
        for part in text.split("### ")[1:]
    }
    assert list(tables) == [
        *("Bit width", "Training subset", TABLES["compression"]),
        *("How the rows were made", "Not made"),
    ]
    assert len(tables["Bit width"]) == 2 + 3
    assert len(tables["Training subset"]) == 2 + 3
    assert len(tables[TABLES["compression"]]) == 2 + 2
    assert tables["Training subset"][0][4] == "DSC of CT"
    for name, row in whole["rows"].items():
        found = finished.outcome.scores[name].objects
        assert 0 < row["dsc"] == pytest.approx(fmean(score.dsc for score in found))
        assert row["nsd"] == pytest.approx(fmean(score.nsd for score in found))
        assert row["ms"] == 100 * (1 + list(whole["rows"]).index(name)) + 11
        files = [p for p in folder.model(name).iterdir() if p.suffix in (".xml", ".bin")]
        assert row["mb"] == pytest.approx(sum(file.stat().st_size for file in files) / 1e6)
        line = next(
            line
            for line in tables["Bit width"]
            + tables["Training subset"]
            + tables[TABLES["compression"]]
            if line[0] == f"| {row['label']}"
        )
        assert line[1:3] == [f"{row['dsc']:.3f}", f"{row['nsd']:.3f}"]
        assert f"{row['ms']:.0f} ({row['ms_ratio']:.0%})" in line
        assert line[-1] == f"{row['mb']:.1f} |"
    assert whole["objects"] == 4
    # Without a limit of its own, all three.
    assert whole["rows"]["all"]["rarest"]["n"] == 3
    assert whole["rows"]["qat"]["rarest"] is None
    assert whole["rows"]["all"]["difference"]["dsc"]["mean"] == pytest.approx(
        whole["rows"]["all"]["dsc"] - whole["rows"]["float"]["dsc"]
    )


def test_rows_are_what_their_names_say(finished: SimpleNamespace) -> None:
    rows = finished.summary["rows"]
    assert {name: row["bits"] for name, row in rows.items()} == {
        "float": 32,
        "ptq": 8,
        "qat": 8,
        "all": 8,
        "pruned": 32,
    }
    assert "1 steps of 2 samples" in rows["qat"]["training"]
    assert "2 steps of 2 samples of 6 slices: CT 2, MR 2" in rows["all"]["training"]
    assert "8/16 of hidden channels and heads pruned" in rows["pruned"]["training"]
    folder = finished.ablation.folder
    sizes = [(folder.model(n) / "encoder.bin").stat().st_size for n in ("float", "pruned")]
    assert sizes[1] < sizes[0]
    encoders = [folder.model(name) / "encoder.bin" for name in ("ptq", "all", "qat")]
    same, other, trained = (path.read_bytes() for path in encoders)
    assert same == other
    assert same != trained
    decoders = [(folder.model(n) / "decoder.bin").read_bytes() for n in ("ptq", "all")]
    assert decoders[0] != decoders[1]


def test_the_plot_is_small(finished: SimpleNamespace) -> None:
    picture = (finished.ablation.folder.path / "ablation.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert 5_000 < len(picture) < 150_000


def test_what_is_there_is_not_made_again(
    cases: Path, finished: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished.ablation.folder.path
    again = Ablation(cases, out, "rounds=3")
    rows = TEST_ROWS[:3]
    monkeypatch.setattr(Examination, "score", lambda *_, **__: pytest.fail("scored again"))
    outcome = again.run(rows)
    assert again.made == []
    assert outcome.scores == {row.name: finished.outcome.scores[row.name] for row in rows}
    monkeypatch.undo()
    use_small_networks(monkeypatch)
    # Other objects are scored, by the same models.
    fewer = Ablation(cases, out, "limit=1")
    assert len(fewer.run(rows[:1]).scores["float"].objects) == 2
    assert fewer.made == []
    finished.ablation.run(rows[:1])


def test_results_of_different_settings_are_never_mixed(
    cases: Path, finished: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="another training_samples"):
        Ablation(cases, finished.ablation.folder.path, "training_samples=4")
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="no ablation"):
        Ablation(cases, tmp_path)


def groups(**sizes: int) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(sizes.values()))
    return {
        name: np.arange(end - size, end)
        for (name, size), end in zip(sizes.items(), ends, strict=True)
    }


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"strategy": "min"}, {"CT": 10, "MR": 10, "US": 10}),
        ({"strategy": "all"}, {"CT": 22, "MR": 7, "US": 1}),
        # 30, 10 and, as the smallest is the least of all, 7.
        ({"strategy": "fraction", "fraction": 0.1}, {"CT": 19, "MR": 6, "US": 5}),
        ({"strategy": "counts", "counts": {"CT": 2, "US": 1}}, {"CT": 20, "MR": 0, "US": 10}),
    ],
)
def test_strategies_share_the_same_number_of_samples(
    keys: dict[str, Any], wanted: dict[str, int]
) -> None:
    sizes = groups(CT=300, MR=100, US=7)
    settings = DataConfig(data=(Path("x"),), **keys)
    assert scaled_quotas(sizes, settings, 30) == wanted


def test_few_slices_are_a_part_of_every_group(cases: Path) -> None:
    settings = config(cases, "subset_part=0.1")
    data = SliceDataset(settings)
    data.groups = groups(CT=300, US=2)
    smaller = part_of(data, settings)
    assert {name: len(own) for name, own in smaller.groups.items()} == {"CT": 30, "US": 1}
    assert set(smaller.groups["CT"]) < set(data.groups["CT"])
    assert len(set(smaller.groups["CT"])) == 30
    assert list(part_of(data, settings).groups["CT"]) == list(smaller.groups["CT"])


def test_the_rarest_modality_is_one_that_is_scored(cases: Path, tmp_path: Path) -> None:
    data = SliceDataset(config(cases))
    data.groups = {
        "US/A": np.arange(1),
        "CT/A": np.arange(2),
        "CT/B": np.arange(9),
        "MR/B": np.arange(10),
    }
    assert rarest_modality(data, cases) == "MR"
    data.groups = {"US/A": np.arange(1)}
    with pytest.raises(DataError, match="US"):
        rarest_modality(data, cases)


def blocks() -> list[tuple[nn.Module, torch.Tensor]]:
    torch.manual_seed(0)
    modules: list[tuple[nn.Module, torch.Tensor]] = [
        (MBConv(8), torch.randn(2, 8, 9, 9)),
        (PatchMerging(8, 24, stride=2), torch.randn(2, 8, 8, 8)),
        (Mlp(8), torch.randn(2, 5, 8)),
        (WindowAttention(8, heads=4, window=2, side=4), torch.randn(2, 16, 8)),
    ]
    for module, _ in modules:
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias)
                nn.init.uniform_(norm.running_var, 0.5, 1.5)
        module.eval()
    return modules


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_nothing_pruned_leaves_the_function(number: int) -> None:
    module, x = blocks()[number]
    with torch.no_grad():
        before = module(x)
        slim.prune_channels(module, 0)
        assert torch.allclose(module(x), before, atol=1e-5)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_pruning_keeps_the_strongest_channels(number: int) -> None:
    module, x = blocks()[number]
    fold_batch_norm(module)
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    width = len(layers[0].weight)
    weak = torch.randperm(width)[: width - 8]
    with torch.no_grad():
        # What these channels say is not heard, in the layer that reads them.
        layers[-1].weight[:, weak] *= 1e-9
        before = module(x)
        size = slim.count_parameters(module)
        slim.prune_channels(module, 1 - 8 / width)
        assert torch.allclose(module(x), before, atol=1e-5)
        assert len(layers[0].weight) == 8
        assert slim.count_parameters(module) < size
        # The strongest are really needed.
        layers[-1].weight.zero_()
        assert not torch.allclose(module(x), before, atol=1e-3)


def test_pruning_keeps_the_strongest_heads() -> None:
    module, x = blocks()[3]
    nn.init.normal_(module.attention_biases)
    with torch.no_grad():
        # Of 4 heads of 2 channels, the first and the third are not heard.
        module.proj.weight[:, [0, 1, 4, 5]] *= 1e-9
        before = module(x)
        slim.prune_channels(module, 0.5)
        assert torch.allclose(module(x), before, atol=1e-5)
    assert module.heads == 2
    assert (module.qkv.out_features, module.proj.in_features) == (12, 4)
    assert module.attention_biases.shape == (2, 4)


def test_a_whole_encoder_loses_channels_and_blocks() -> None:
    whole = TinyViT().eval()
    names = set(whole.state_dict())
    shallow = copy.deepcopy(whole)
    slim.drop_blocks(shallow, 4)
    kept = set(shallow.state_dict())
    assert kept < names
    assert [len(stage.blocks) for stage in shallow.layers] == [2, 1, 4, 1]
    slim.drop_blocks(whole, 0)
    assert set(whole.state_dict()) == names
    slim.prune_channels(shallow, 0.75)
    assert shallow.layers[0].blocks[0].conv1.c.out_channels == 64
    assert shallow.layers[3].blocks[0].mlp.fc1.out_features == 320
    with torch.no_grad():
        assert shallow(torch.rand(1, 3, 256, 256)).shape == (1, 256, 64, 64)


@pytest.mark.parametrize(
    ("ratio", "wanted"),
    [
        (lambda n: 2 - n / 10, 10),
        (lambda n: 2 - n / 8.6, 9),
        (lambda n: 0.9 - n / 100, 0),
        (lambda n: 3 - n / 100, 14),
    ],
)
def test_the_strength_with_the_nearest_latency_is_found(
    ratio: Callable[[int], float], wanted: int
) -> None:
    asked = []

    def measure(strength: int) -> float:
        asked.append(strength)
        return ratio(strength)

    assert slim.match_latency(measure, 14) == wanted
    assert len(asked) == len(set(asked)) <= 6


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("training_samples=3",), "multiple of `batch_size`"),
        (("micro_batch=4",), "multiple of `micro_batch`"),
        (("unlabelled=true",), "leave it false"),
        (("subset_part=1",), "`subset_part`: .* less than 1, not 1"),
        (("limit=0",), "`limit`: .* greater than 0, not 0"),
        (("qat_rate=0",), "`qat_rate`: .* greater than 0, not 0"),
    ],
)
def test_impossible_configurations_are_refused(
    cases: Path, keys: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        config(cases, *keys)


def test_shipped_configurations_can_be_read() -> None:
    for folder in ("cpu", "paper"):
        path = ablate.DEFAULT_CONFIG.parents[1] / folder / "ablate.yaml"
        assert load_config(AblationConfig, path, ["data=x"]).subset_counts["CT"] == 4


def command(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(ablate.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_tables_and_ends_with_1_after_a_failed_row(
    cases: Path, finished: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablate, "choose_rows", lambda tables: [TEST_ROWS[0], TEST_ROWS[4]])
    monkeypatch.setattr(ablate, "build_lite_medsam", lambda _: build())
    monkeypatch.setattr(ablate, "rarest_modality", lambda *_: "CT")
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    file = tmp_path / "ablate.yaml"
    file.write_text("".join(f"{key.replace('=', ': ')}\n" for key in KEYS))
    where = ("--val", cases, "--out", finished.ablation.folder.path)
    result = command(cases, *where, "--config", file, "--checkpoint", weights)
    assert result.exit_code == 1, result.output
    assert "Not made: lost: " in result.stderr
    assert result.stdout.strip().endswith("ablation.md")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--table", "bit"), "There is no table bit"),
        (("training_sample=3",), "Did you mean `training_samples`"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    cases: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = command(cases, *arguments, "--val", cases, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
