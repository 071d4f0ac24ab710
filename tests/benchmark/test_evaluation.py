import time

from yolact.benchmark import evaluation


class Other:
    """An implementation that takes long only where its time does not count."""

    def __init__(self, categories):
        assert categories == evaluation.CLASSES
        self.added = []

    def convert(self, picture):
        time.sleep(0.05)
        return len(picture.found)

    def add(self, converted):
        self.added.append(converted)

    def figures(self):
        assert self.added == [evaluation.DETECTIONS] * 3
        return {"segm": 0.5, "bbox": 0.25}


def test_converting_for_another_implementation_is_not_timed(monkeypatch):
    monkeypatch.setattr(evaluation, "DISTINCT", 2)
    seconds, figures = evaluation.measure_evaluation(3, [], Other)
    assert figures == {"evaluation, compared": {"segm": 0.5, "bbox": 0.25}}
    assert 0 < seconds["evaluation, compared"] < 0.15  # three conversions sleep that long
