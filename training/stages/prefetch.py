"""Work done ahead in other processes, so that a GPU never waits for words and scenes to be made up."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor

import torch


class Prefetcher:
    """Processes that do what is asked of them for batches to come. What is done for one batch is done by one process,
    which may remember something from one call to the next; without processes it is done at once, here."""

    def __init__(self, processes: int, start: Callable | None = None, *arguments):
        """`start(*arguments)`, if any, is called first in every process."""
        spawn = multiprocessing.get_context("spawn")  # a forked process could not use CUDA
        self.pools = [
            ProcessPoolExecutor(1, spawn, initializer=_start, initargs=(start, arguments)) for _ in range(processes)
        ]
        if start and not processes:
            start(*arguments)

    @property
    def depth(self) -> int:
        """Batches that should be under way at a time."""
        return 2 * len(self.pools) + 1

    def submit(self, batch: int, work: Callable, *arguments) -> Future:
        if self.pools:
            return self.pools[batch % len(self.pools)].submit(work, *arguments)
        done = Future()
        done.set_result(work(*arguments))
        return done

    def close(self) -> None:
        for pool in self.pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _start(start: Callable | None, arguments: tuple) -> None:
    torch.set_num_threads(1)
    if start:
        start(*arguments)
