import dataclasses
import math

import pytest
import torch

from training.model import CONFIGS, SeTok
from training.model.config import DetokenizerConfig, MergerConfig, VisionConfig
from training.stages.distributed import Workers
from training.stages.losses import layout_loss, of_region, pull_push_loss, token_regions
from training.stages.metrics import evaluate_scenes, region_ious
from training.stages.stage1 import Stage1, Stage1Settings

# Scenes are 128 pixels wide, so the model for these tests is thin instead of small.
THIN = dataclasses.replace(
    CONFIGS["nano"],
    vision=VisionConfig(width=16, depth=1, heads=1, stem_channels=(4, 8)),
    merger=MergerConfig(width=16, heads=1),
    detokenizer=DetokenizerConfig(width=16, depth=1, heads=1, refine_channels=2),
)
SETTINGS = Stage1Settings(steps=8, batch=4, easy_vqa=0.25, warmup_steps=2)


@pytest.fixture(scope="module")
def workers():
    return Workers("cpu")


def test_resume_takes_the_same_step(tmp_path, workers):
    run = Stage1(SeTok(THIN), SETTINGS, workers, tmp_path)
    for _ in range(4):  # past the phase of true clusters
        run.train_step()
    run.save(tmp_path / "checkpoint.pt")
    expected = run.train_step()

    resumed = Stage1(SeTok(THIN), SETTINGS, workers, tmp_path)
    resumed.load(tmp_path / "checkpoint.pt")
    assert resumed.train_step() == expected
    for a, b in zip(run.average.parameters(), resumed.average.parameters()):
        assert torch.equal(a, b)


def test_run_writes_checkpoint_and_logs(tmp_path, workers):
    settings = dataclasses.replace(SETTINGS, steps=4, log_every=2, evaluate_scenes=2)
    Stage1(SeTok(THIN), settings, workers, tmp_path).run()
    assert {f.name for f in tmp_path.iterdir()} == {"checkpoint.pt", "train.csv", "val.csv", "curves.png"}
    assert len((tmp_path / "train.csv").read_text().splitlines()) == 3


LAYERED = dataclasses.replace(THIN.detokenizer, layer_size=8, layer_width=8)


@pytest.mark.parametrize("detokenizer", [THIN.detokenizer, LAYERED])
def test_every_parameter_learns(workers, tmp_path, detokenizer):
    run = Stage1(SeTok(dataclasses.replace(THIN, detokenizer=detokenizer)), SETTINGS, workers, tmp_path)
    run.train_step()  # the last refinement starts at zero and lets gradients through after its first step
    run.train_step()
    assert [name for name, p in run.model.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_evaluation_metrics_are_finite(workers, tmp_path):
    run = Stage1(SeTok(THIN), SETTINGS, workers, tmp_path)
    metrics = evaluate_scenes(run.average, "val", 3)
    # An untrained model may have no token that shows mostly an object: then there is nothing to name.
    assert all(math.isfinite(v) for name, v in metrics.items() if name not in ("object_names", "object_colors"))


def test_pull_push_is_zero_for_separated_regions_only():
    region = torch.tensor([[0, 0, 1, 1]])
    purity = torch.ones(1, 4)
    apart = torch.tensor([[[2.0, 0], [2, 0], [-2, 0], [-2, 0]]])
    pull, push = pull_push_loss(apart, region, purity, regions=8)
    assert pull < 1e-6 and push < 1e-6
    pull, push = pull_push_loss(apart[:, [0, 2, 0, 2]], region, purity, regions=8)
    assert pull > 1 and push > 1


def test_token_regions_are_majorities():
    labels, region = torch.tensor([[0, 0, 0, 1, 2]]), torch.tensor([[1, 1, 0, 0, 0]])
    valid = torch.tensor([[True, True, True, False]])
    found = token_regions(labels, valid, region)
    assert found.tolist() == [[1, 0, 0, -1]]
    assert of_region(torch.tensor([[7, 9]]), found).tolist() == [[9, 7, 7, -1]]


def test_layout_loss_is_zero_when_attention_is_the_assignment():
    labels = torch.tensor([[0, 1, 1]])
    assert layout_loss(torch.eye(2)[labels], labels) == 0


def test_region_iou_takes_the_best_cluster():
    regions, labels = torch.tensor([0, 0, 0, 1]).numpy(), torch.tensor([0, 0, 1, 1]).numpy()
    assert region_ious(regions, labels) == {0: 2 / 3, 1: 1 / 2}
