"""A model on disk, as the Rust library loads it: config.json, manifest.json, safetensors shards."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .config import FORMAT, ModelConfig
from .setok import SeTok
from .setokim import Setokim, SetokimConfig

SHARD_BYTES = 16 * 2**20  # so that no single download is large and each can be cached by itself


def write_bundle(folder: Path, model: SeTok | Setokim, matrix_dtype: torch.dtype = torch.float16) -> None:
    """Write `model`; matrices as `matrix_dtype`, vectors (norms, biases) as float32.

    A Setokim also needs the tokenizer.json of its text, put into the folder beforehand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    tensors = {
        name: tensor.detach().to("cpu", matrix_dtype if tensor.ndim > 1 else torch.float32).contiguous()
        for name, tensor in model.state_dict().items()
    }
    shards = split_shards(tensors)
    for i, shard in enumerate(shards, start=1):
        path = folder / f"setok-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, path)
        path.chmod(0o644)  # safetensors makes files that only their owner may read
    (folder / "config.json").write_text(model.config_json())
    write_manifest(folder)


def split_shards(tensors: dict[str, Tensor], limit: int = SHARD_BYTES) -> list[dict[str, Tensor]]:
    """Tensors in order of name, in as few groups as hold at most `limit` bytes each (8 KiB kept for the header)."""
    shards, room = [{}], limit - 8192
    for name in sorted(tensors):
        size = tensors[name].nbytes
        if shards[-1] and size > room:
            shards.append({})
            room = limit - 8192
        shards[-1][name] = tensors[name]
        room -= size
    return shards


def write_manifest(folder: Path) -> None:
    """Sizes and SHA-256 of every file that a loader needs."""
    files = [folder / "config.json", *sorted(folder.glob("tokenizer.json")), *sorted(folder.glob("*.safetensors"))]
    entries = [
        {"name": f.name, "bytes": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()} for f in files
    ]
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": entries}, indent=2) + "\n")


def read_bundle(folder: Path) -> SeTok | Setokim:
    """The inverse of `write_bundle`, in float32."""
    config = (folder / "config.json").read_text()
    model = SeTok(ModelConfig.from_json(config))
    if "llm" in json.loads(config):
        model = Setokim(model, SetokimConfig.from_json(config))
    model.load_state_dict(read_tensors(folder))
    return model.eval()


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's shards as float32; docs/weights.md says what packed tensors and parts are."""
    tensors = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            packed = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118 (a file is no dict)
                tensor = file.get_tensor(name)
                tensors[name] = unpack(tensor, packed[name]) if tensor.dtype == torch.uint8 else tensor.float()
    for name in [name.removesuffix(".part.0") for name in tensors if name.endswith(".part.0")]:
        count = sum(other.startswith(f"{name}.part.") for other in tensors)
        tensors[name] = torch.cat([tensors.pop(f"{name}.part.{i}") for i in range(count)])
    return tensors


def unpack(stored: Tensor, declared: str) -> Tensor:
    """U8 [rows, bytes] of ggml blocks of 32 weights, declared as "q8_0 256 704" -> float32."""
    kind, *shape = declared.split()
    block = {"q8_0": 34, "q4_0": 18}[kind]
    blocks = stored.reshape(-1, block)
    scale = blocks[:, :2].contiguous().view(torch.float16).float()
    quants = blocks[:, 2:].contiguous()
    if kind == "q8_0":
        values = quants.view(torch.int8).float()
    else:
        values = torch.cat([quants & 15, quants >> 4], dim=1).float() - 8
    return (scale * values).reshape([int(size) for size in shape])
