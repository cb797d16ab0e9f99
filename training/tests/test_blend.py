import pytest
import torch

from training.stages.blend import blend


def test_blends_what_has_a_fraction_and_takes_the_rest_from_the_newer():
    old = {"weight": torch.tensor([0.0, 4.0]), "count": torch.tensor(1)}
    new = {"weight": torch.tensor([1.0, 0.0]), "count": torch.tensor(7), "head": torch.tensor([5.0])}
    mixed = blend(old, new, 0.25)
    assert mixed["weight"].tolist() == [0.25, 3.0] and mixed["count"] == 7 and mixed["head"] == 5
    with pytest.raises(ValueError, match="lacks"):
        blend(old, {"weight": new["weight"]}, 0.5)
