"""Every knob of the project, with its unit and its reason: the manual of the configuration.

A YAML file names only what differs from these defaults, which are those of the paper's YOLACT-550 with ResNet-101
on COCO. `loading.py` turns YAML into these classes and holds every number to the rule of its type; nothing here knows
of YAML, torch or files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Literal, NamedTuple

PAD_MULTIPLE = 8  # pixels, the stride of P3: so the image ends at the border of a prototype's pixel
SMALLEST_FOR_MASK_IOU = 249  # pixels; from it on, five unpadded convolutions of stride 2 fit onto the prototypes


class Rule(NamedTuple):
    """What a number must be, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


AT_LEAST_1 = Rule("at least 1", lambda value: value >= 1)
AT_LEAST_0 = Rule("at least 0", lambda value: value >= 0)
Count = Annotated[int, AT_LEAST_1]
Ratio = Annotated[float, AT_LEAST_1]
Natural = Annotated[int, AT_LEAST_0]
NotNegative = Annotated[float, AT_LEAST_0]
Positive = Annotated[float, Rule("more than 0", lambda value: value > 0)]
Share = Annotated[float, Rule("between 0 and 1", lambda value: 0 <= value <= 1)]
Decay = Annotated[float, Rule("at least 0 and below 1", lambda value: 0 <= value < 1)]
Channels = Annotated[int, Rule("between 1 and 64", lambda value: 1 <= value <= 64)]
Byte = Annotated[int, Rule("between 0 and 255", lambda value: 0 <= value <= 255)]
FirstLevel = Annotated[int, Rule("2 or 3", lambda value: value in (2, 3))]
HeadLevel = Annotated[int, Rule("2, 3 or 4", lambda value: value in (2, 3, 4))]
LastLevel = Annotated[int, Rule("5, 6 or 7", lambda value: value in (5, 6, 7))]
Side = Annotated[int, Rule("at least 32", lambda value: value >= 32)]  # of the network input in pixels
Size = Side | tuple[Side, Side]  # the side of a square, or [height, width]
Part = Literal["backbone", "fpn", "protonet", "head", "semantic", "mask_iou"]


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    # Of yolact.models.BACKBONES: resnet10_half, resnet18, 34, 50, 101, darknet53, convnext_tiny, one's own; timm/NAME.
    name: str = "resnet101"
    # YOLACT++ section 3.2: how many of the last blocks of each of the four stages are deformable, and every which one.
    deformable_blocks: tuple[Natural, Natural, Natural, Natural] = (0, 0, 0, 0)
    deformable_interval: Count = 1


@dataclass(frozen=True, kw_only=True)
class AnchorConfig:
    # Side lengths in pixels of the network input; one list for each level, from the finest (stride 8) to the coarsest.
    scales: tuple[tuple[Positive, ...], ...] = ((24.0,), (48.0,), (96.0,), (192.0,), (384.0,))
    aspect_ratios: tuple[Positive, ...] = (1.0, 0.5, 2.0)  # width / height
    # The published YOLACT (not ++) weights were trained with h = w for every ratio, a slip that they depend on.
    square: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    # "anchors" is the paper's; "points" makes one prediction a cell, its box as distances to four sides (FCOS).
    head: Literal["anchors", "points"] = "anchors"
    # First and last level of the pyramid: P3..P7 has strides 8 to 128, P2..P5 strides 4 to 32, for small objects. The
    # prototypes have half the stride of the first.
    levels: tuple[FirstLevel, LastLevel] = (3, 7)
    # The first level that the head predicts on, if not that of the pyramid. A later one leaves the finer levels to the
    # prototypes: objects are large enough for few predictions, but their outlines need detail.
    head_from: HeadLevel | None = None
    num_classes: Count | None = None  # C, without background; null takes the classes of the training annotations
    image_size: Size = 550  # of the network input in pixels: the side of a square, or [height, width]
    # "stretch", the paper's way, gives every image the shape of the input. "pad" keeps its own, and fills up on the
    # right or below: for images of unlike shapes, or where the shape of an object matters.
    resize: Literal["stretch", "pad"] = "stretch"
    # Of the images that the network sees: 3 are red, green and blue, 1 is gray; of any other number all bands of the
    # files, alpha among them, in their order, such as 4 for RGB and near infrared. What is pretrained on RGB has its
    # first convolution averaged over that and repeated, so that gray in all channels is seen as before.
    channels: Channels = 3
    # On the 0..255 scale: a number for each channel, RGB; or three, whose average every channel has if there are not
    # three. These are ImageNet's; DarkNet wants mean 0 and std 255.
    pixel_mean: tuple[NotNegative, ...] = (123.68, 116.78, 103.94)
    pixel_std: tuple[Positive, ...] = (58.40, 57.12, 57.38)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    fpn_channels: Count = 256  # also the width of the prediction head
    tower_depth: Count = 2  # convolutions before the outputs of a points head, for classes and for boxes
    protonet_channels: Count = 256
    num_prototypes: Count = 32  # k; the paper found 8 to 256 much alike (table 2b)
    mask_iou: bool = False  # YOLACT++ section 3.3: a small network that rescores masks

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) of the network input."""
        return as_size(self.image_size)

    def per_channel(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Return `pixel_mean` or `pixel_std` with a number for each channel."""
        return values if len(values) == self.channels else (sum(values) / len(values),) * self.channels

    @property
    def head_levels(self) -> tuple[int, int]:
        """First and last level that the head predicts on."""
        return self.head_from or self.levels[0], self.levels[1]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """The authors' SSD-style augmentation, and others that are off; every probability is an image's."""

    photometric: bool = True  # brightness, contrast, saturation and hue; the first two alone where channels are not 3
    expand_probability: Share = 0.5  # zoom out onto a mean-coloured canvas
    expand_max_ratio: Ratio = 4.0  # side of the largest canvas over side of the image
    crop: bool = True  # SSD's random crop, sides 0.3 to 1 of the image's
    mirror_probability: Share = 0.5
    flip_probability: Share = 0.0  # upside down; for images without an up, such as microscopy
    rotate90_probability: Share = 0.0  # by 90 degrees; likewise
    # Large-scale jitter (Ghiasi et al. 2021), in place of expand and crop: the smallest and largest scale of the whole
    # image against the input, where it is cropped or lies on a mean-coloured canvas, at random. The paper's are
    # [0.1, 2.0] for very long trainings; [0.8, 1.25] is the usual, mild choice that it compares with.
    scale_jitter: tuple[Positive, Positive] | None = None
    # Copy-paste (the same paper): with this probability some objects of another image, itself augmented, are laid
    # over this one, which costs the loader a second sample. The paper does it always, with large-scale jitter.
    copy_paste_probability: Share = 0.0


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    train_images: str = "data/coco/train2017"
    train_annotations: str = "data/coco/annotations/instances_train2017.json"
    val_images: str = "data/coco/val2017"
    val_annotations: str = "data/coco/annotations/instances_val2017.json"
    max_train_images: Count | None = None  # only the first so many, for overfitting on purpose
    # Train on tiles of large images: the side in pixels of the image, or [height, width]. Half of them are drawn around
    # an object, of a class drawn first, so that what is rare is seen. eval.tiles follows where it is null.
    tiles: Size | None = None
    # Of images of more than 8 bits: the sample that becomes 255, such as 4095 of a camera of 12 bits. "image" takes the
    # range of each image. null has a training choose by a look at its images; weights that say null mean "image".
    white: Positive | Literal["image"] | None = None
    # RGB of what is seen where an image is transparent, because what was cut out is noise. White, as in the pages and
    # programs in which people look at such images and annotate them.
    background: tuple[Byte, Byte, Byte] = (255, 255, 255)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    num_workers: Natural = 4  # workers that load, of each rank; 0 loads in the main process
    worker_timeout: NotNegative = 300.0  # seconds without a batch after which these count as hung; 0 waits for ever
    # An unreadable image met while training: stop with its name, or take the next one and count it.
    unreadable: Literal["raise", "skip"] = "raise"
    # A training set without one object is refused, as an export that lost them looks like that; true trains on it.
    allow_empty: bool = False


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms and the rules of matching (paper sections 3.1, 4 and 5; REFERENCE values)."""

    box_weight: NotNegative = 1.5
    class_weight: NotNegative = 1.0
    mask_weight: NotNegative = 6.125
    semantic_weight: NotNegative = 1.0  # 0 leaves the semantic term out, as in the paper's ablation
    mask_iou_weight: NotNegative = 25.0  # YOLACT++ only
    # "ohem": softmax with the hardest negatives. "quality", for points: binary cross-entropy to how well the box fits.
    class_loss: Literal["ohem", "quality"] = "ohem"
    # What an object of each class counts in it: a list by label, or "inverse", its class's share of the training
    # objects turned round, with a mean of 1 over these. For rare classes.
    class_weights: tuple[NotNegative, ...] | Literal["none", "inverse"] = "none"
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"  # of the deltas, or of the decoded boxes
    # "cropped": at the size of the prototypes, within the box. "roi_align": each object in a grid of its own, against
    # its mask at the size of the input, with dice; for jagged or small masks, and little memory.
    mask_loss: Literal["cropped", "roi_align"] = "cropped"
    roi_size: Count = 28  # side of that grid
    assigner: str = "max_iou"  # of yolact.losses.ASSIGNERS: which candidate answers for which object
    top_k: Count = 13  # task_aligned: candidates of an object that become positive, those with the largest
    align_alpha: NotNegative = 1.0  # score ** alpha * ...
    align_beta: NotNegative = 6.0  # ... IoU ** beta
    positive_iou: Share = 0.5  # an anchor is positive from this IoU with a ground-truth box on ...
    negative_iou: Share = 0.4  # ... negative below this one, and neutral between
    crowd_overlap: Share = 0.7  # a non-positive anchor is neutral with more than this share of it in a crowd region
    negatives_per_positive: Natural = 3  # online hard example mining, per image
    masks_to_train: Count = 100  # at most so many positive anchors of an image get a mask loss
    mask_iou_min_area: NotNegative = 25.0  # in prototype pixels; smaller masks do not train the rescoring network


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    max_steps: Count = 800_000  # optimizer steps
    epochs: Positive | None = None  # a convenience: replaces max_steps by this many passes over the images
    # Images before accumulation. Several ranks share them evenly, so that a run does not depend on their number.
    batch_size: Count = 8
    # Multi-scale training: every batch has one of these sizes in pixels instead of model.image_size, which evaluation
    # keeps. An anchor keeps its sides in pixels, because the network cannot tell how large its input is. The largest
    # size decides the memory; torch.compile compiles, and cuDNN prepares, each size anew, on every device.
    image_sizes: tuple[Size, ...] = ()
    # "random", or "progressive": one size after the other, each for an equal share of the training (EfficientNetV2,
    # Tan & Le 2021). Small images first are cheap, and teach most; the last size must be model.image_size.
    image_size_order: Literal["random", "progressive"] = "random"
    accumulate: Count = 1  # batches whose gradients are summed into one optimizer step
    # The paper's batch. With another total batch the learning rate is scaled by batch / reference, and max_steps and
    # lr_steps by its inverse, as the authors do; null scales nothing.
    reference_batch_size: Count | None = 8
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 1e-3
    momentum: Decay = 0.9  # of SGD
    backbone_lr: Positive = 1.0  # factor of the learning rate for the backbone; below 1 for one that is pretrained
    weight_decay: NotNegative = 5e-4
    decay_all: bool = True  # on every parameter, as the authors have it; false leaves out norms and biases
    freeze: tuple[Part, ...] = ()  # parts of the network that stay as they start, their batch norms too
    schedule: Literal["steps", "cosine"] = "steps"
    lr_steps: tuple[Natural, ...] = (280_000, 600_000, 700_000, 750_000)  # for "steps": multiply by lr_gamma here
    lr_gamma: Positive = 0.1
    warmup_steps: Natural = 500  # linear, from warmup_lr
    warmup_lr: NotNegative = 1e-4
    clip_norm: Positive | None = None  # largest L2 norm of the whole gradient
    ema_decay: Decay | None = None  # exponential moving average of the weights, used to evaluate and saved beside them
    # "auto", the authors' rule, freezes batch norm where it would see fewer than 6 images at once.
    freeze_batch_norm: Literal["auto", "always", "never"] = "auto"
    # From this share of the training on, trained batch norms keep the statistics learned so far, those of the moving
    # average where there is one, as they will in use. Batches of few or unlike images need it; 1 never does.
    keep_statistics_from: Share = 1.0
    sync_batch_norm: bool = False  # a trained batch norm sees the images of all ranks, not its own only; CUDA only
    # "auto" is bf16 where the device computes it natively, else fp32. Losses are always fp32.
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    channels_last: bool = True  # memory format of the convolutions; the results are the same
    compile: bool = False  # torch.compile the network: slow first steps, then faster ones on a GPU
    # Where the backbone starts: "imagenet" (a file under weights/, else torchvision's or timm's download), "none", or a
    # file. "imagenet_v2" are torchvision's later, better weights of ResNet-50 and 101; the paper had the first.
    backbone_weights: str = "imagenet"
    seed: Natural = 0
    # CUDA repeats its results bit by bit, as the CPU does: slower, and an error where an operation cannot.
    deterministic: bool = False
    max_nonfinite: Count = 10  # so many non-finite losses in a row stop the run
    log_every: Count = 10  # steps between two lines of metrics.jsonl
    save_every: Count = 5_000  # steps between two checkpoints
    eval_every: Count | None = 10_000  # steps between two evaluations; null evaluates at the end only
    patience: Count | None = None  # stop after so many evaluations in a row without a better mask AP
    tensorboard: bool = False  # also write TensorBoard events (pip install tensorboard)


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """From raw predictions to detections and masks; also what `Predictor` starts from."""

    batch_size: Count = 1
    score_threshold: Share = 0.05  # an anchor is a candidate when its best class probability exceeds this
    nms: Literal["fast", "cross_class", "exact"] = "fast"  # Fast NMS per class, over all classes, or sequential NMS
    nms_threshold: Share = 0.5
    # Candidates of a class that enter Fast NMS, whose memory grows with their square; sequential NMS takes all. Where
    # an image of the training's data has more than half as many objects of a class, a training raises it to that.
    nms_top_k: Count = 200
    max_detections: Count = 100  # of an image or tile; a training raises it to the most objects of one in its data
    # Crop masks to their boxes at prototype resolution, as the published weights expect, or after resizing: sharper.
    crop: Literal["before_resize", "after_resize", "none"] = "before_resize"
    # Test-time augmentation: the network sees the images flipped in these ways too, each for the price of an image, and
    # NMS chooses among all that it finds.
    flips: tuple[Literal["horizontal", "vertical"], ...] = ()
    # Cut images that are larger into tiles of this size, in pixels of the image, which the network sees one by one, and
    # join what they cut: for images much larger than model.image_size, with small objects.
    tiles: Size | None = None
    # Pixels that neighbours share: at least the usual object. null is a quarter of a tile; a training takes what 9 of
    # 10 of its objects fit into.
    tile_overlap: Natural | None = None
    max_images: Count | None = None  # evaluate only the first so many images
    num_workers: Natural = 2  # processes that load, and as many that encode masks; 0 does both in the main process
    # What computes COCO's metrics: the reference, or an optional extra with equal metrics in a fraction of the time.
    engine: Literal["pycocotools", "hotcoco"] = "pycocotools"

    @property
    def tile_size(self) -> tuple[int, int] | None:
        """(H, W) of the tiles, in pixels of the image."""
        return None if self.tiles is None else as_size(self.tiles)


@dataclass(frozen=True, kw_only=True)
class Config:
    name: str = "yolact"  # of the run folder
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


def as_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (H, W) of an image_size."""
    return (size, size) if isinstance(size, int) else size


def conflicts(config: Config) -> Iterator[str]:
    """Yield what is wrong with the form of a value, or with values next to each other, so that no run can work."""
    model, loss, sizes, steps = config.model, config.loss, config.train.image_sizes, config.train.lr_steps
    scales, jitter, least = model.anchors.scales, config.data.augment.scale_jitter, SMALLEST_FOR_MASK_IOU
    if model.head_levels[0] < model.levels[0]:
        yield f"model.head_from must be a level of the pyramid, {model.levels[0]} or more, got {model.head_from}"
    for name, values in (("pixel_mean", model.pixel_mean), ("pixel_std", model.pixel_std)):
        if len(values) not in (3, model.channels):
            three = "3 numbers" + f", or {model.channels} as model.channels" * (model.channels != 3)
            yield f"model.{name} must be {three}, got {len(values)}"
    num_levels = model.head_levels[1] - model.head_levels[0] + 1
    has_lists = len(scales) == num_levels and len({len(level) for level in scales}) == 1 and scales[0]
    if model.head == "anchors" and not has_lists:
        lists = f"{num_levels} lists of equally many side lengths, one for each level"
        yield f"model.anchors.scales must be {lists}, got {[list(level) for level in scales]}"
    if not model.anchors.aspect_ratios:
        yield "model.anchors.aspect_ratios must not be an empty list"
    both = {as_size(size) for size in (model.image_size, *sizes)}
    sides = sorted(side for size in both for side in size)
    if model.mask_iou and sides[0] < least:
        yield f"model.mask_iou needs a model.image_size and train.image_sizes of at least {least}, got {sides[0]}"
    if model.resize == "pad" and (odd := [side for side in sides if side % PAD_MULTIPLE]):
        yield f"model.resize=pad needs sizes of images that are multiples of {PAD_MULTIPLE}, got {odd[0]}"
    if config.data.augment.rotate90_probability and any(height != width for height, width in both):
        yield "data.augment.rotate90_probability must be 0 with an input that is no square: a quarter turn fits none"
    overlap, tile = config.eval.tile_overlap, config.eval.tiles or config.data.tiles
    if overlap is not None and tile is not None and overlap > (most := min(as_size(tile)) // 2):
        yield f"eval.tile_overlap must be at most half a tile, {most} of {tile}, got {overlap}; null takes a quarter"
    if jitter is not None and jitter[0] > jitter[1]:
        yield f"data.augment.scale_jitter must be the smallest and the largest scale, got {list(jitter)}"
    if (model.head == "points") == (loss.class_loss == "ohem"):
        fitting = "quality" if model.head == "points" else "ohem"
        yield f"loss.class_loss must be {fitting} with model.head={model.head}, got {loss.class_loss}"
    if loss.assigner == ("max_iou" if model.head == "points" else "task_aligned"):
        fitting = "task_aligned" if model.head == "points" else "max_iou"
        yield f"loss.assigner must be {fitting} with model.head={model.head}, or one of your own, got {loss.assigner}"
    if loss.negative_iou > loss.positive_iou:
        ious = f"{loss.negative_iou} and {loss.positive_iou}"
        yield f"loss.negative_iou must be at most loss.positive_iou, got {ious}"
    if list(steps) != sorted(set(steps)):
        yield f"train.lr_steps must grow from one to the next, got {list(steps)}"
    if PurePath(config.name).name != config.name or config.name in ("", ".."):
        yield f"name must be usable as the name of a folder, got '{config.name}'"
