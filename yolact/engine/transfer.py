"""Fine-tuning: start from another model's weights as far as they fit, and say what did not."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from yolact.errors import CheckpointError

logger = logging.getLogger(__name__)


def transfer_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: str) -> list[str]:
    """Load every tensor of `weights` that `model` has in the same shape; the others keep their fresh start.

    Returns:
        The names of the model's tensors that were re-made.

    Raises:
        CheckpointError: hardly anything fits, so this is another kind of model.
    """
    own = model.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if len(fitting) < len(own) / 2:
        raise CheckpointError(
            f"Only {len(fitting)} of the model's {len(own)} tensors are in '{origin}' with the same shape: give "
            "weights of the same backbone (model.backbone.name) and widths."
        )
    model.load_state_dict(fitting, strict=False)
    remade = [name for name in own if name not in fitting]
    for name in remade:
        found = f"the file has {list(weights[name].shape)}" if name in weights else "the file does not have it"
        logger.info("re-made %s %s: %s", name, list(own[name].shape), found)
    for name in weights:
        if name not in own:
            logger.info("left out %s %s: this model has no such tensor", name, list(weights[name].shape))
    logger.info("weights from %s: %d of %d tensors loaded, %d re-made", origin, len(fitting), len(own), len(remade))
    return remade
