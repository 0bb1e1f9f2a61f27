"""Classifiers of images as Flax modules: residual, deep, with and without a norm.

ResNet-20 is that of He et al. 2016 (arXiv 1512.03385, section 4.2) with projections as
shortcuts; VGG-11 that of Simonyan and Zisserman 2015 (arXiv 1409.1556) for small
images, with one dense layer. Ainsworth et al. 2023 (arXiv 2209.04836) and Jordan et al.
2023 (arXiv 2211.08403) merge these two. The narrow MLP is that of Singh and Jaggi 2020
(*OT-Fusion*, arXiv 1910.05653).
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from symmerge_jax.typing import Array

NORMS = ("batch", "layer", "none")

_HE = nn.initializers.he_normal()


class ResNet20(nn.Module):
    """Three stages of three blocks; a norm behind every convolution."""

    width: float
    norm: str

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Return logits `[S, 10]` of images `[S, H, W, 1]`."""
        x = nn.relu(_conv_norm(self.norm, round(16 * self.width), train)(x))
        for stage in range(3):
            channels = round(16 * 2**stage * self.width)
            for block in range(3):
                stride = 2 if stage > 0 and block == 0 else 1
                inner = _conv_norm(self.norm, channels, train, stride)(x)
                inner = _conv_norm(self.norm, channels, train)(nn.relu(inner))
                if stride > 1:
                    x = _conv_norm(self.norm, channels, train, stride, size=1)(x)
                x = nn.relu(x + inner)
        return nn.Dense(10)(x.mean(axis=(1, 2)))


class Vgg11(nn.Module):
    """Eight convolutions; images are halved as long as there is something to halve."""

    width: float
    norm: str

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Return logits `[S, 10]` of images `[S, H, W, 1]`."""
        for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
            for channels in stage:
                conv = _conv_norm(self.norm, round(channels * self.width), train)
                x = nn.relu(conv(x))
            if min(x.shape[1:3]) > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(10)(x.mean(axis=(1, 2)))


class NarrowMlp(nn.Module):
    """Layers of 400, 200 and 100 neurons without bias."""

    width: float

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Return logits `[S, 10]` of images `[S, H, W, 1]`."""
        del train
        x = x.reshape(len(x), -1)
        for size in (400, 200, 100):
            x = nn.relu(nn.Dense(round(size * self.width), use_bias=False)(x))
        return nn.Dense(10, use_bias=False)(x)


class SmallBatchNorm(nn.Module):
    """Three convolutions with BatchNorm, for the 8 x 8 digits of scikit-learn."""

    width: float

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Return logits `[S, 10]` of images `[S, H, W, 1]`."""
        for layer in range(3):
            size = round(32 * self.width)
            x = nn.Conv(size, (3, 3), strides=1 + (layer > 0), use_bias=False)(x)
            x = nn.relu(_batch_norm(train)(x))
        return nn.Dense(10)(x.mean(axis=(1, 2)))


def _conv_norm(
    norm: str, channels: int, train: bool, stride: int = 1, size: int = 3
) -> Callable[[Array], Array]:
    """Return a convolution and what normalises its channels."""
    norms: dict[str, Any] = {"batch": _batch_norm, "layer": lambda _: nn.LayerNorm()}
    conv = nn.Conv(
        channels, (size, size), stride, use_bias=norm == "none", kernel_init=_HE
    )
    if norm == "none":
        return conv
    after = norms[norm](train)
    return lambda x: after(conv(x))


def _batch_norm(train: bool) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=not train, momentum=0.9)
