"""Time of the reference formula of density-peak clustering in PyTorch, for `cargo xtask bench`.

    python -m training.evaluation.bench_cluster --patches 256,729,4096 --width 192

The formula is that of the reference code (distance matrix, top-k, masked minimum), without its random noise. It holds
several [N, N] matrices, so sizes that would need more than `--memory` gigabytes are left out.
"""

import argparse
import json
import statistics
import time

import torch
from torch import Tensor


def cluster(x: Tensor, k: int, threshold: float) -> Tensor:
    """Features [N, C] -> labels [N]."""
    distance = torch.cdist(x, x) / x.shape[1] ** 0.5
    density = (-distance.topk(k, largest=False).values.square().mean(-1)).exp()
    higher = density[None, :] > density[:, None]
    delta = torch.where(higher, distance, distance.max()).min(-1).values
    centers = torch.nonzero(delta * density > threshold).flatten()
    if len(centers) == 0:
        centers = (delta * density).argmax().reshape(1)
    return distance[centers].argmin(0)


def median_ms(n: int, width: int, device: str, seconds: float) -> tuple[float, int]:
    generator = torch.Generator().manual_seed(0)
    centers = torch.rand(12, width, generator=generator) * 2 - 1
    noise = 0.2 * (torch.rand(n, width, generator=generator) - 0.5)
    x = (centers[torch.arange(n) % 12] + noise).to(device)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 16:
        start = time.perf_counter()
        cluster(x, 4, 0.1).cpu()  # the copy waits for a GPU
        times.append((time.perf_counter() - start) * 1e3)
        if time.perf_counter() - begin > seconds:
            break
    counted = times[1:] or times
    return statistics.median(counted), len(counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", default="256,729,4096,16384")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--seconds", type=float, default=5.0, help="no further repetition of a size after this long")
    parser.add_argument("--memory", type=float, default=8.0, help="gigabytes")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cases = []
    for n in map(int, arguments.patches.split(",")):
        if 4 * n * n * 4 > arguments.memory * 1e9:
            continue
        median, runs = median_ms(n, arguments.width, device, arguments.seconds)
        name = f"PyTorch {torch.__version__} {device}"
        cases.append({"what": f"cluster N={n} C={arguments.width}", "device": name, "median_ms": median, "runs": runs})
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
