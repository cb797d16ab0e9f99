import numpy as np
import torch

from training.data.easy_vqa import easy_batch
from training.data.renderer import Layouts, Renderer
from training.data.scenes import render_batch, sample_scene


def test_many_at_a_time_are_drawn_as_one_by_one():
    scenes, easy = [sample_scene("train", i) for i in range(40)], [3, 8]
    one_by_one = render_batch(scenes), easy_batch("train", easy)
    rendered = Renderer.on(torch.device("cpu")).render(Layouts.of(scenes, easy))
    rendered = {name: getattr(rendered, name).numpy() for name in ("images", "regions", "patch_regions", "purity")}
    expected = {name: np.concatenate([getattr(batch, name) for batch in one_by_one]) for name in rendered}
    # Another order of the same float operations may round a pixel the other way.
    assert np.abs(rendered.pop("images").astype(int) - expected.pop("images")).max() <= 1
    for name in rendered:
        assert np.array_equal(rendered[name], expected[name])


def test_what_is_empty_has_the_background_and_nothing_else():
    scenes = [sample_scene("train", i) for i in range(4)]
    rendered = Renderer.on(torch.device("cpu")).render(Layouts.of(scenes).empty)
    for scene in scenes:
        scene.objects = []
    assert np.abs(rendered.images.numpy().astype(int) - render_batch(scenes).images).max() <= 1
    assert rendered.regions.max() <= 1
