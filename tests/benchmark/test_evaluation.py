from yolact.benchmark import evaluation


class Clock:
    """Time that passes only when told to."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_converting_for_another_implementation_is_not_timed(monkeypatch):
    clock = Clock()

    class Other:
        def __init__(self, categories):
            assert categories == evaluation.CLASSES
            self.added = []

        def convert(self, picture):
            clock.now += 100
            return len(picture.found)

        def add(self, converted):
            clock.now += 1
            self.added.append(converted)

        def figures(self):
            clock.now += 10
            assert self.added == [evaluation.DETECTIONS] * 3
            return {"segm": 0.5, "bbox": 0.25}

    monkeypatch.setattr(evaluation, "DISTINCT", 2)
    monkeypatch.setattr(evaluation, "time", clock)
    seconds, figures = evaluation.measure_evaluation(3, [], Other)
    assert figures == {"evaluation, compared": {"segm": 0.5, "bbox": 0.25}}
    assert seconds == {"evaluation, compared": 13.0}
