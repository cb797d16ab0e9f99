import numpy as np
import pytest

from training.data import scenes
from training.data.scenes import MAX_OBJECTS, SPLITS, is_free, is_held_out, is_visible, sample_batch, sample_scene
from training.data.sprites import SPRITES


def test_a_scene_follows_from_its_split_and_index_alone():
    whole = sample_batch("train", 0, 12)
    part = sample_batch("train", 8, 4)
    assert whole.scenes[8:] == part.scenes
    assert np.array_equal(whole.images[8:], part.images)
    assert np.array_equal(whole.regions[8:], part.regions)


def test_splits_show_different_scenes():
    assert len({str(sample_scene(split, 0)) for split in SPLITS}) == len(SPLITS)


@pytest.mark.parametrize("split", SPLITS)
def test_held_out_combinations_appear_in_their_split_only(split):
    for index in range(200):
        scene = sample_scene(split, index)
        held_out = any(is_held_out(o.name, o.color, scene.background) for o in scene.objects)
        assert held_out == (split == "test-combo")


def test_objects_are_inside_apart_and_visible():
    for index in range(200):
        scene = sample_scene("train", index)
        assert 1 <= len(scene.objects) <= MAX_OBJECTS
        for o in scene.objects:
            assert min(o.x, o.y) >= 0 and max(o.x, o.y) + o.size <= scenes.IMAGE_SIZE
            assert is_visible(scene, o) and is_free(scene.objects, o)


def test_black_is_not_drawn_at_night():
    black = SPRITES.colors.index("black")
    night = [s for s in (sample_scene("train", i) for i in range(600)) if s.background == "night"]
    squares = SPRITES.names.index("square")
    assert night and not any(o.color == black and o.name == squares for s in night for o in s.objects)


def test_masks_agree_with_the_picture():
    """Without its objects a scene has the same pixels wherever the region map shows background."""
    for index in range(20):
        scene = sample_scene("val", index)
        image, regions = scenes.render_scene(scene)
        count = len(scene.objects)
        scene.objects = []
        empty, _ = scenes.render_scene(scene)
        changed = (image.astype(int) - empty).__abs__().max(-1) > 0
        assert (changed[regions < count]).mean() > 0.9  # a pixel may have the colour of what is behind it
        covered = changed & (regions >= count)  # soft rims, at most half opaque
        assert covered.mean() < 0.1


def test_patch_regions_are_majorities():
    batch = sample_batch("val", 0, 8)
    patch = scenes.PATCH_SIZE
    pure = batch.purity == 1
    for b in range(8):
        corner = batch.regions[b, ::patch, ::patch].ravel()
        assert np.array_equal(corner[pure[b]], batch.patch_regions[b][pure[b]])
        assert (batch.patch_regions[b] < (batch.names[b] >= 0).sum()).all()
