"""The noise that the Rust library denoises visual tokens from, value by value, so that their tokens can be compared.

ChaCha with eight rounds (Bernstein, 2008) behind the seeding of Rust's rand_core, in numpy.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

STREAM = 1  # text is sampled from stream 0
ROUNDS = 8
KEY_WORDS = 8
COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


class Noise:
    """Normal noise from a seed, times `scale`; each call goes on where the one before ended."""

    def __init__(self, seed: int = 0, scale: float = 1.0):
        self.seed, self.scale, self.taken = seed, scale, 0

    def __call__(self, like: Tensor) -> Tensor:
        first, self.taken = self.taken, self.taken + like.numel()
        drawn = normal(self.seed, 1 << self.taken.bit_length())[first : self.taken]
        return self.scale * torch.from_numpy(drawn).to(like).view(like.shape)


@cache
def normal(seed: int, count: int) -> np.ndarray:
    """The first `count` numbers, by Box-Muller. [count] float32."""
    uniform = (random_words(seed, 2 * count) >> 11) / 2.0**53
    a, b = uniform[0::2], uniform[1::2]
    return (np.sqrt(-2 * np.log(1 - a)) * np.cos(2 * np.pi * b)).astype(np.float32)


def random_words(seed: int, count: int) -> np.ndarray:
    """The first `count` words of ChaCha. [count] uint64."""
    blocks = np.arange(-(-count // 8), dtype=np.uint64)
    state = np.zeros((16, len(blocks)), np.uint32)
    state[:4] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
    state[4:12] = key(seed)[:, None]
    state[12], state[13] = blocks & 0xFFFFFFFF, blocks >> 32
    state[14] = STREAM
    mixed = state.copy()
    for _ in range(ROUNDS // 2):
        for lanes in COLUMNS + DIAGONALS:
            quarter_round(mixed, *lanes)
    return np.ascontiguousarray((mixed + state).T).view("<u8").reshape(-1)[:count]


def quarter_round(x: np.ndarray, a: int, b: int, c: int, d: int) -> None:
    for to, by, turned, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[to] += x[by]
        x[turned] ^= x[to]
        x[turned] = x[turned] << bits | x[turned] >> (32 - bits)


def key(seed: int) -> np.ndarray:
    """What `SeedableRng::seed_from_u64` makes of a seed: a PCG, word by word. [8] uint32."""
    state, words = seed, []
    for _ in range(KEY_WORDS):
        state = (state * 6364136223846793005 + 11634580027462260723) % 2**64
        shifted, turn = (((state >> 18) ^ state) >> 27) % 2**32, state >> 59
        words.append((shifted >> turn | shifted << (-turn % 32)) % 2**32)
    return np.array(words, np.uint32)
