import numpy as np
import torch

from training.model.noise import Noise, normal

FIRST_OF_SEED_0 = [-0.12520744, 1.1344013, 0.25072572, 0.6406671]  # as in the tests of src/diffusion.rs


def test_numbers_are_those_of_rust():
    np.testing.assert_array_equal(normal(0, 4), np.array(FIRST_OF_SEED_0, np.float32))


def test_calls_go_on_where_the_last_one_ended():
    noise, like = Noise(seed=3, scale=0.5), torch.zeros(1, 5)
    drawn = torch.cat([noise(like), noise(like)]).flatten()
    torch.testing.assert_close(drawn, 0.5 * torch.from_numpy(normal(3, 10).copy()))
    assert not torch.equal(drawn, Noise(seed=4, scale=0.5)(torch.zeros(10)))
