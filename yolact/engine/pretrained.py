"""The ImageNet weights that a backbone starts from."""

import logging
import urllib.error
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torchvision import models as torchvision_models

from yolact.compat.published import AUTHORS_FILES
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import CheckpointError
from yolact.models.backbones import RESNETS, DarkNetFeatures, TimmFeatures, first_convolution
from yolact.models.build import TIMM
from yolact.text import printable

logger = logging.getLogger(__name__)

WEIGHTS_FOLDER = Path("weights")
TORCHVISION = (*RESNETS, "convnext_tiny")
VERSIONS = {"imagenet": "IMAGENET1K_V1", "imagenet_v2": "IMAGENET1K_V2"}  # the paper's backbones had the first recipe
_DARKNET_NAMES = (("_preconv.", "stem."), ("layers.", "stages."))


def load_backbone(backbone: nn.Module, name: str, source: str) -> str:
    """Load weights into `backbone`, called `name` in the configuration, and return where they came from.

    Args:
        source: "imagenet", "imagenet_v2", or the path of a file with a backbone's state dict.

    Raises:
        CheckpointError: no file and no network, or a file that does not fit this backbone.
    """
    if source not in VERSIONS:
        _load(backbone, load_checkpoint(source), source)
        return source
    if isinstance(backbone, TimmFeatures):
        return _load_timm(backbone, name.removeprefix(TIMM))
    path = _imagenet_file(name, source)
    _load(backbone, load_checkpoint(path), str(path))
    return str(path)


def _load_timm(backbone: TimmFeatures, name: str) -> str:
    try:
        state = TimmFeatures(name, pretrained=True).state_dict()
    except Exception as error:  # of the hub, of HTTP, of the file: the library names no class for them
        raise CheckpointError(
            f"The weights of timm's {name} could not be fetched ({printable(str(error))}): fetch them with a network "
            "once, or set train.backbone_weights=none to start from random weights."
        ) from error
    _load(backbone, state, f"timm's {name}")
    return f"timm's {name}"


def _imagenet_file(name: str, source: str) -> Path:
    """Return the authors' or torchvision's file under weights/; the latter is fetched if neither is there."""
    authors = WEIGHTS_FOLDER / AUTHORS_FILES[name] if name in AUTHORS_FILES else None
    if source == "imagenet" and authors is not None and authors.is_file():
        return authors
    version = VERSIONS[source]
    known = torchvision_models.get_model_weights(name).__members__ if name in TORCHVISION else {}
    if version not in known:
        remedy = f"fetch {authors} by `yolact weights {name}`" if authors else "set it to a file"
        raise CheckpointError(
            f"train.backbone_weights is {source}, which torchvision does not have for '{name}': {remedy}, or "
            "set train.backbone_weights=none."
        )
    weights = known[version]
    path = WEIGHTS_FOLDER / weights.url.rsplit("/", 1)[-1]
    if not path.is_file():
        logger.info("downloading %s to %s/", weights.url, WEIGHTS_FOLDER)
        try:
            weights.get_state_dict(model_dir=str(WEIGHTS_FOLDER), check_hash=True, weights_only=True)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise CheckpointError(
                f"The ImageNet weights of {name} are not under {WEIGHTS_FOLDER}/ and {weights.url} could not be "
                f"fetched ({error}): put that file there, or set train.backbone_weights=none to start from random "
                "weights."
            ) from error
    return path


def _load(backbone: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Load every tensor of the backbone; the file's classifier is left out, and deformable parts may be missing."""
    if isinstance(backbone, DarkNetFeatures):
        for theirs, ours in _DARKNET_NAMES:
            state = {ours + k[len(theirs) :] if k.startswith(theirs) else k: v for k, v in state.items()}
    own = backbone.state_dict()
    fitting = {k: v for k, v in for_channels(backbone, state).items() if k in own and own[k].shape == v.shape}
    optional = ("num_batches_tracked", "conv_offset_mask.weight", "conv_offset_mask.bias", "conv2.bias")
    missing = [k for k in own if k not in fitting and not k.endswith(optional)]
    if missing:
        raise CheckpointError(
            f"{origin} does not fit this backbone: {len(missing)} of its {len(own)} tensors are missing or of another "
            f"shape, the first is '{missing[0]}'; check model.backbone.name."
        )
    backbone.load_state_dict(fitting, strict=False)


def for_channels(backbone: nn.Module, weights: Mapping[str, Tensor], prefix: str = "") -> Mapping[str, Tensor]:
    """Return weights whose first convolution takes as many channels as that of `backbone`, and log where it did not.

    It is averaged over its K channels and repeated over C, times K / C, so that an image that is gray in all channels
    gives what it gave before.

    Args:
        prefix: of the backbone's names in `weights`.
    """
    found = first_convolution(backbone)
    key = f"{prefix}{found[0]}.weight" if found else ""
    if found is None or key not in weights:
        return weights
    theirs, wanted = weights[key], found[1].weight.shape
    if theirs.ndim != 4 or theirs.shape[1] == wanted[1] or theirs[:, :1].shape != (wanted[0], 1, *wanted[2:]):
        return weights
    before, now = theirs.shape[1], wanted[1]
    logger.info("%s: averaged over its %d channels, and repeated over %d times %d/%d", key, before, now, before, now)
    return {**weights, key: theirs.mean(1, keepdim=True).repeat(1, now, 1, 1) * (before / now)}
