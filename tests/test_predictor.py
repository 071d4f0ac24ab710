import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import yolact
from tests.made import assert_alike
from yolact.compat import dbolya
from yolact.config import Config, config_to_dict, override_config
from yolact.data import CocoDataset
from yolact.data.samples import Colours
from yolact.engine.checkpoint import load_checkpoint, save_checkpoint
from yolact.errors import CheckpointError, ConfigError, DatasetError, UserError
from yolact.evaluation.run import evaluate
from yolact.instances import Instances
from yolact.loaded import load_model
from yolact.models import build_model
from yolact.predictor import Predictor, load


@pytest.fixture(scope="module")
def predictor(sample_checkpoint: Path) -> Predictor:
    return load(sample_checkpoint)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_results_are_in_the_pixels_of_the_image_and_a_path_is_its_image(
    predictor: Predictor, image: np.ndarray, tmp_path: Path
) -> None:
    found = predictor(image, score_threshold=0.1)
    assert len(found) > 5
    assert (found.masks.shape, found.masks.dtype) == ((len(found), 50, 70), torch.bool)
    assert found.image_size == (50, 70)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([70, 50, 70, 50])).all()
    assert (found.scores[:-1] >= found.scores[1:]).all()
    assert (found.class_names, found.category_ids) == (["disc", "square"], [3, 7])
    assert found.image is image
    path = tmp_path / "ein Bild.png"
    cv2.imwrite(str(path), image)
    for source in (path, str(path)):
        assert_alike(predictor(source, 0.1), found)
        assert (predictor(source, 0.1).image == image).all()
    found.boxes[:, 0] += 1  # results may be changed in place


def test_a_list_gives_each_image_its_own_result_whatever_its_company(
    predictor: Predictor, image: np.ndarray, sample_data: Path
) -> None:
    sources = [image, *sorted((sample_data / "pictures").iterdir()), image[:31, :40], image]
    together = predictor(sources, 0.1)
    assert len(sources) == 9  # more than a batch
    assert [found.image_size for found in together][-2:] == [(31, 40), (50, 70)]
    for source, found in zip(sources, together, strict=True):
        assert_alike(found, predictor(source, 0.1))
    assert predictor([]) == []


def test_a_stream_gives_each_result_as_it_comes(predictor: Predictor, image: np.ndarray) -> None:
    taken = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(5):
            taken.append(number)
            yield np.roll(image, number, axis=1)

    results = predictor.stream(frames(), 0.1)
    assert taken == []
    for number in range(5):
        assert_alike(next(results), predictor(np.roll(image, number, axis=1), 0.1))
        assert len(taken) == number + 1
    assert next(results, None) is None
    in_twos = predictor.stream(frames(), 0.1, batch_size=2)
    assert [next(in_twos).image_size, taken[5:]] == [(50, 70), [0, 1]]
    assert len(list(in_twos)) == 4


def test_any_number_of_images_is_worked_on_several_at_a_time(
    predictor: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "_num_callers", 2)
    images, threads = [np.roll(image, number, axis=1) for number in range(7)], set()

    def work(own: Predictor, number: int) -> Instances:
        threads.add(threading.get_ident())
        return own(images[number], 0.1)

    for results in (predictor.find_all(iter(images), 0.1), predictor.overlapped(work, range(7))):
        for one, found in zip(images, results, strict=True):
            assert_alike(found, predictor(one, 0.1))
    assert threading.get_ident() not in threads
    with pytest.raises(ValueError, match=r"\[0, 1\].*30"):
        predictor.find_all(images, 30)


def test_a_stream_ends_at_what_is_no_image_and_what_is_no_stream_is_refused_at_once(
    predictor: Predictor, image: np.ndarray
) -> None:
    results = predictor.stream([image, "absent.jpg", image], 0.1)
    assert len(next(results)) > 0
    with pytest.raises(DatasetError, match=r"absent\.jpg"):
        next(results)
    assert next(results, None) is None
    with pytest.raises(TypeError, match="got one str; put it into a list"):
        predictor.stream("street.jpg")
    with pytest.raises(TypeError, match="got one int"):
        predictor.stream(3)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        predictor.stream([image], batch_size=0)
    for call in (predictor, predictor.stream):
        with pytest.raises(ValueError, match=r"\[0, 1\].*30"):
            call([image], 30)


def test_the_score_threshold_takes_the_best_of_the_same_objects(predictor: Predictor, image: np.ndarray) -> None:
    low = predictor(image, score_threshold=0.05)
    middle = float(low.scores[len(low) // 2])
    high = predictor(image, score_threshold=middle)
    assert 0 < len(high) < len(low)
    assert_alike(high, low[low.scores > middle])
    assert len(predictor(image, score_threshold=1)) == 0


def test_scores_below_the_threshold_of_evaluation_can_be_asked_for(sample_checkpoint: Path, image: np.ndarray) -> None:
    loaded = load_model(sample_checkpoint)
    torch.nn.init.zeros_(loaded.model.head.class_logits.weight)
    bias = loaded.model.head.class_logits.bias
    bias.data = torch.tensor([3.9, 0.0, 0.0]).repeat(len(bias) // 3)  # each class gets the probability 0.02
    predictor = Predictor(loaded)
    assert len(predictor(image, score_threshold=0.05)) == 0
    assert len(predictor(image, score_threshold=0.01)) > 0


def test_the_predictor_finds_what_the_evaluation_counts(
    predictor: Predictor, sample_data: Path, sample_config: Config
) -> None:
    dataset = CocoDataset(sample_data / "annotations.json", sample_data / "pictures", max_images=1)
    records = evaluate(predictor.runtime, dataset, sample_config.eval, progress=False).bbox
    found = predictor(sample_data / "pictures" / dataset.images[0].file_name, sample_config.eval.score_threshold)
    assert [record["score"] for record in records] == pytest.approx(found.scores.tolist(), abs=1e-5)
    assert records[0]["bbox"] == pytest.approx(found.to_coco(1)[0]["bbox"], abs=2e-3)


def test_the_white_of_the_checkpoint_holds_for_predictions_and_evaluations(
    sample_checkpoint: Path, sample_data: Path, tmp_path: Path
) -> None:
    """Images of 16 bits whose samples are 64 times those of 8 bits; their own white would be another one."""
    images = shutil.copytree(sample_data / "pictures", tmp_path / "deep")
    for path in images.iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 64)
    shallow = load(sample_checkpoint)
    deep = Predictor(load_model(sample_checkpoint, overrides=["data.white=16320", "data.background=[0, 0, 0]"]))
    assert deep.colours == Colours(16320.0, (0, 0, 0))
    name = "picture 0.png"
    assert_alike(deep(images / name), shallow(sample_data / "pictures" / name))
    both = (
        yolact.evaluate(model, CocoDataset(sample_data / "annotations.json", folder, max_images=1), progress=False).bbox
        for model, folder in ((deep, images), (shallow, sample_data / "pictures"))
    )
    found, expected = ([record["score"] for record in records] for records in both)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda image: image[:, :, 0], ValueError, r"\[H, W, 3\].*\[50, 70\].*GRAY2BGR"),
        (lambda image: np.dstack([image, image[:, :, 0]]), ValueError, r"\[50, 70, 4\]"),
        (lambda image: image.astype(np.float32) / 255, ValueError, "uint8.*float32"),
        (lambda image: image[:0], ValueError, r"at least one pixel.*\[0, 70, 3\]"),
        (torch.from_numpy, TypeError, "Tensor"),
        (lambda image: [image, 3], TypeError, "int"),
    ],
)
def test_what_is_no_image_is_refused_in_words(
    predictor: Predictor, image: np.ndarray, make: Callable, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        predictor(make(image))


def test_load_takes_evaluation_settings_and_a_threshold_for_calls_that_give_none(
    predictor: Predictor, sample_checkpoint: Path, image: np.ndarray
) -> None:
    changed = load(sample_checkpoint, nms="cross_class", max_detections=3, image_size=96)
    assert (changed.settings.nms, changed.image_size) == ("cross_class", (96, 96))
    assert len(changed(image, 0.05)) == 3
    with pytest.raises(ConfigError, match="nms_treshold"):
        load(sample_checkpoint, nms_treshold=0.5)
    with pytest.raises(UserError, match="precision must be one of fp32, bf16, fp16, got 'fp8'"):
        load(sample_checkpoint, precision="fp8")  # type: ignore[arg-type]
    assert predictor.score_threshold == 0.3  # not the evaluation's
    assert_alike(predictor(image), predictor(image, 0.3))
    found = predictor(image, 0.1)
    middle = round(float(found.scores[len(found) // 2]), 3)
    changed = load(sample_checkpoint, score_threshold=middle)
    assert_alike(changed(image), predictor(image, middle))
    assert 0 < len(changed(image)) < len(found)
    assert load_model(sample_checkpoint, overrides=["eval.score_threshold=0.6"]).score_threshold == 0.6


def test_averaged_weights_are_preferred(sample_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(sample_checkpoint)
    checkpoint["ema"] = {key: torch.zeros_like(value) for key, value in checkpoint["model"].items()}
    save_checkpoint(checkpoint, tmp_path / "ema.pth")
    model = load_model(tmp_path / "ema.pth").model
    assert not model.training
    assert all(not value.any() for value in model.state_dict().values())


def test_a_configuration_that_does_not_fit_the_weights_is_one_sentence(
    sample_checkpoint: Path, sample_config: Config
) -> None:
    with pytest.raises(
        CheckpointError, match=r"do not fit.*'sample'.*protonet.*\): give the configuration, or the back"
    ):
        load_model(sample_checkpoint, overrides=["model.num_prototypes=5"])
    other = override_config(sample_config, ["model.fpn_channels=24"])
    with pytest.raises(CheckpointError, match=r"do not fit .*: leave --config \(config=\) out, as the checkpoint has"):
        load(sample_checkpoint, config=other)
    other_classes = replace(sample_config, model=replace(sample_config.model, num_classes=7))
    with pytest.raises(CheckpointError, match=r"2 classes.*num_classes=7"):
        load_model(sample_checkpoint, config=other_classes)
    unsaid = replace(sample_config, model=replace(sample_config.model, num_classes=None))
    assert load_model(sample_checkpoint, config=unsaid).config.model.num_classes == 2


@pytest.mark.parametrize(
    ("num_classes", "first", "last_id", "known"), [(80, "person", 90, True), (3, "class 1", 3, False)]
)
def test_published_weights_bring_their_classes(
    tmp_path: Path, num_classes: int, first: str, last_id: int, known: bool
) -> None:
    model_config = replace(dbolya.PUBLISHED["yolact_resnet50"], num_classes=num_classes)
    model = build_model(Config(model=model_config))
    path = tmp_path / "yolact_resnet50_54_800000.pth"
    torch.save(dbolya.export(model.state_dict()), path)
    loaded = load_model(path)
    assert (loaded.class_names[0], len(loaded.class_names)) == (first, num_classes)
    assert (loaded.category_ids[-1], loaded.names_known) == (last_id, known)
    assert config_to_dict(loaded.config)["model"]["image_size"] == 550
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[key])
