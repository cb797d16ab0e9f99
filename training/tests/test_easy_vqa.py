import numpy as np

from training.data.easy_vqa import easy_batch, kind, load_image, questions, sample, shape_label
from training.data.scenes import COLOR_LABELS, CONCEPTS


def test_official_splits():
    assert [len(questions(split)) for split in ("train", "test")] == [4000, 1000]
    assert [sum(map(len, questions(split))) for split in ("train", "test")] == [38575, 9673]
    answers = {answer for asked in questions("train") for _, answer in asked}
    assert len(answers) == 13


def test_regions_are_the_shape_and_its_ground():
    batch = easy_batch("train", [0, 4, 5])
    assert [shape_label("train", i) for i in (0, 4, 5)] == [
        ("rectangle", "blue"),
        ("circle", "red"),
        ("triangle", "yellow"),
    ]
    assert [CONCEPTS[name] for name in batch.names[:, 0]] == ["square", "circle", "triangle"]
    assert [COLOR_LABELS[color] for color in batch.colors[:, 0]] == ["blue", "red", "yellow"]
    for image, regions in zip(batch.images, batch.regions):
        shape, ground = (image[regions == region].astype(int).mean(0) for region in (0, 1))
        assert np.ptp(shape) > 150 and ground.min() > 200  # a pure colour on a light one


def test_our_val_is_kept_from_our_train():
    rng = np.random.default_rng(0)
    drawn = {split: {sample(rng, split) for _ in range(3000)} for split in ("train", "val")}
    assert not drawn["train"] & drawn["val"] and len(drawn["val"]) == 200
    assert load_image("train", max(drawn["val"])).shape == (128, 128, 3)


def test_kinds():
    asked = ["what color is the shape?", "what shape is in the image?", "is there not a teal shape?"]
    assert [kind(question) for question in asked] == ["color", "shape", "exists"]
