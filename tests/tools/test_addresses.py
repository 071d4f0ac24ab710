from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolact.errors import UserError
from yolact.tools import addresses
from yolact.tools.addresses import fetch_image

PNG = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()


def test_an_image_gets_the_name_of_its_address_and_the_suffix_of_its_kind(web: Any, tmp_path: Path) -> None:
    web.files |= {"shop/my%20cat.jpg?size=3": PNG, "image?id=4": PNG, "%E7%8C%AB": PNG, "": PNG}
    web.redirects["old.png"] = f"{web.url}/image?id=4"
    for place, name in (
        ("shop/my cat.jpg?size=3", "my cat.png"), ("image?id=4", "image.png"), ("old.png", "old.png"),
        ("\u732b", "\u732b.png"), ("", "image.png"),
    ):  # fmt: skip
        path = fetch_image(f"{web.url}/{place}", tmp_path)
        assert path is not None
        assert (path.name, path.read_bytes()) == (name, PNG)
    assert len({*tmp_path.iterdir()}) == 5
    for start, suffix in ((b"\0\0\0\x18ftypheic", ".heic"), (b"\xff\x4f\xff\x51", ".jp2"), (b"P6\n1", ".ppm")):
        web.files["a.x"] = start
        path = fetch_image(f"{web.url}/a.x", tmp_path)
        assert path is not None
        assert path.name == f"a{suffix}"


def test_what_is_no_image_is_left_to_others(web: Any, tmp_path: Path) -> None:
    web.files |= {
        "page": b"<html>",
        "live.jpg": b"--frame\r\nContent-Type: image/jpeg\r\n\r\n",
        "clip": b"RIFF1234AVI ",
    }
    assert [fetch_image(f"{web.url}/{name}", tmp_path) for name in web.files] == [None] * 3
    assert not [*tmp_path.iterdir()]


def test_a_failure_is_one_sentence(web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    web.files["a.png"] = PNG
    for place, target in (
        ("file", f"file://{tmp_path}/secret.png"),
        ("ftp", "ftp://127.0.0.1/a"),
        ("x", f"{web.url}/x"),
    ):
        web.redirects[place] = target
    web.cuts.append(30)
    for place, message in (
        ("a.png", r"a\.png' cannot be fetched \(it breaks off\); check the address"),
        ("none.png", r"\(404 Not Found\)"),
        ("file", "not allowed"),
        ("ftp", "not allowed|unknown url type"),
        ("x", "infinite loop"),
    ):
        with pytest.raises(UserError, match=message):
            fetch_image(f"{web.url}/{place}", tmp_path)
    for address in ("http://127.0.0.1:1/a.png", "http://", "http://[", "http://127.0.0.1:port/"):
        with pytest.raises(UserError, match="cannot be fetched"):
            fetch_image(address, tmp_path)
    monkeypatch.setattr(addresses, "MAX_BYTES", len(PNG) - 1)
    with pytest.raises(UserError, match="has more than"):
        fetch_image(f"{web.url}/a.png", tmp_path)
