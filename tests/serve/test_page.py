"""The page in a real browser, driven as a person would: choose, look, move, switch, save."""

import base64
import itertools
import json
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

for package in ("starlette", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install starlette uvicorn)")

from yolact.serve.answers import LOW_SCORE  # noqa: E402
from yolact.serve.uploads import Limits  # noqa: E402

TIMES = "\N{MULTIPLICATION SIGN}"
STATUS = "document.getElementById('status').innerText.replaceAll('\\u00a0', ' ')"
COUNT = "Number(document.getElementById('count').textContent)"
OPENED = f"{STATUS}.includes('shown')"
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


@pytest.fixture
def picture_file(sample_data):
    return sample_data / "pictures" / "picture 0.png"


@pytest.fixture
def found(predictor, picture_file):
    """What the model finds in that picture, above the lowest score of the page."""
    return predictor(picture_file, LOW_SCORE)


@pytest.fixture
def page(open_page, url, picture_file):
    """The page with that picture opened; whatever the test does, no other host is asked and nothing goes wrong."""
    page = open_page(url)
    page.choose("#file", picture_file)
    page.wait(OPENED)
    yield page
    outside = [address for address in page.requests() if not address.startswith((f"{url}/", "blob:", "data:"))]
    assert outside == []
    assert page.complaints() == []


def pixels(page, size=(72, 64)):
    """Return what the canvas shows, uint8 [H, W, 3] RGB, at the size of the picture."""
    page.do(PAINTED)
    content = base64.b64decode(page.do("canvas.toDataURL('image/png')").split(",")[1])
    shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return cv2.resize(shown, size[::-1], interpolation=cv2.INTER_AREA)[:, :, ::-1]


def move_threshold(page, score):
    """Move the slider as its user does, in the browser's own way of telling it."""
    page.do(f"""(() => {{
        const slider = document.getElementById('threshold');
        slider.value = {score};
        slider.dispatchEvent(new Event('input'));
    }})()""")


def test_objects_of_a_chosen_picture_are_listed_and_counted(page, found):
    assert page.do(STATUS).startswith(f"{len(found)} of {len(found)} objects shown · model ")
    assert page.do(STATUS).endswith(f"ms · 64 {TIMES} 72")
    rows = page.do("[...document.querySelectorAll('#objects li')].map(li => li.innerText.split('\\n').join(' '))")
    label = found.class_names[int(found.labels[0])]
    assert rows[0] == f"{label} {float(found.scores[0]):.2f} {found.regions[0].area:,} px"
    areas = [int(row.split()[-2].replace(",", "")) for row in rows]
    assert areas == [region.area for region in found.regions]


def test_the_threshold_acts_without_another_request(page, found):
    requests = len(page.requests())
    move_threshold(page, 0.9)
    assert page.do(COUNT) == int((found.scores > 0.9).sum())
    page.do("document.getElementById('threshold').focus()")
    page.press("ArrowRight")
    page.wait("document.getElementById('threshold-value').textContent === '0.91'")
    assert page.do(COUNT) == int((found.scores > 0.91).sum())
    page.press("End")
    page.wait(f"{COUNT} === 0")
    best = float(found.scores[0])
    hint = page.do("document.getElementById('hint').textContent")
    assert hint == f"Nothing has a higher score; the best has {best:.2f}."
    assert page.do("document.getElementById('save-json').disabled")
    assert len(page.requests()) == requests


def test_classes_are_switched_off_and_on(page, found):
    discs = int((found.labels == found.class_names.index("disc")).sum())
    names = "[...document.querySelectorAll('#classes .name')].map(span => span.textContent).join()"
    counts = "[...document.querySelectorAll('#classes .figure')].map(span => Number(span.textContent))"
    assert page.do(names) == "disc,square"
    assert page.do(counts) == [discs, len(found) - discs]
    page.click("#classes li:nth-child(2) input")
    page.wait(f"{COUNT} === {discs}")
    assert page.do(names) == "disc,square"
    page.click("#none")
    page.wait("document.getElementById('hint').textContent.startsWith('All classes')")
    page.click("#all")
    page.wait(f"{COUNT} === {len(found)}")


def test_masks_boxes_and_labels_appear_where_they_belong(page, found, picture_file):
    picture = cv2.imread(str(picture_file))[:, :, ::-1]
    page.click("#show-labels")
    page.click("#show-masks")
    np.testing.assert_allclose(pixels(page).astype(int), picture, atol=60)  # the enlarged picture has soft borders
    bare = pixels(page).astype(int)
    page.click("#show-masks")
    changed = np.abs(pixels(page).astype(int) - bare).max(axis=2) > 12
    covered = found.masks.any(dim=0).numpy().astype(np.uint8)
    inside = cv2.erode(covered, np.ones((3, 3))).astype(bool)
    outside = ~cv2.dilate(covered, np.ones((3, 3))).astype(bool)
    assert min(inside.sum(), outside.sum()) > 50
    assert changed[inside].all()
    assert not changed[outside].any()
    page.click("#show-boxes")
    assert (np.abs(pixels(page).astype(int) - bare).max(axis=2) > 12).sum() >= changed.sum()


def test_json_holds_the_records_of_what_is_shown(page, found):
    move_threshold(page, 0.9)
    page.click("#classes li:nth-child(1) input")
    page.click("#save-json")
    square = found.class_names.index("square")
    shown = found[(found.scores > 0.9) & (found.labels == square)]
    expected = [{"file_name": "picture 0.png", "category_name": "square", **r} for r in shown.to_coco(1)]
    assert json.loads(page.downloaded("picture 0.json").read_text()) == expected
    assert 0 < len(shown) < len(found)


def test_masks_are_saved_exactly(page, found):
    page.click("#save-masks")
    with zipfile.ZipFile(page.downloaded("picture 0_masks.zip")) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        masks = [cv2.imdecode(np.frombuffer(archive.read(n), np.uint8), cv2.IMREAD_UNCHANGED) for n in names]
    labels = [found.class_names[label] for label in found.labels]
    assert names == [f"picture 0_{number:03}_{label}.png" for number, label in enumerate(labels)]
    np.testing.assert_array_equal(np.stack(masks) > 0, found.masks.numpy())


def test_an_object_stands_out_where_the_pointer_is(page, found):
    index = next(i for i, region in enumerate(found.regions) if region.area > 20)
    rows, columns = np.nonzero(found.masks[index].numpy())
    middle = len(rows) // 2
    area = page.do("(({left, top, width, height}) => [left, top, width, height])(canvas.getBoundingClientRect())")
    x = area[0] + area[2] * (columns[middle] + 0.5) / 64
    y = area[1] + area[3] * (rows[middle] + 0.5) / 72
    page.mouse(x, y)
    tip = page.wait("!document.getElementById('tip').hidden && document.getElementById('tip').innerText")
    covering = [i for i in range(len(found)) if found.masks[i, rows[middle], columns[middle]]]
    smallest = min(covering, key=lambda i: found.regions[i].area)
    name = found.class_names[int(found.labels[smallest])]
    share = 100 * found.regions[smallest].area / (64 * 72)
    assert tip.split("\n")[0] == f"{name} {float(found.scores[smallest]):.2f}"
    assert tip.split("\n")[1].startswith(f"{found.regions[smallest].area:,} px, ")
    assert float(tip.split("px, ")[1].split(" %")[0]) == pytest.approx(share, rel=0.06)
    page.mouse(5, 5)
    page.wait("document.getElementById('tip').hidden")


def test_all_of_it_can_be_done_with_the_keyboard(page):
    names = "({classes: 'class', objects: 'object'})[active.closest('ul')?.id] || active.id || active.className"
    focused = f"(active => ({names}))(document.activeElement)"
    order = []
    for _ in range(13):
        page.press("Tab")
        order.append(page.do(focused))
    panel = ["threshold", "show-masks", "show-boxes", "show-labels", "all", "none", "class", "class"]
    assert order == ["choose", "camera", *panel, "save-json", "save-masks", "object"]
    page.do("document.querySelector('#objects button').focus()")
    page.wait("!document.getElementById('tip').hidden")
    page.press("Enter")
    page.wait("document.querySelector('#objects button').getAttribute('aria-pressed') === 'true'")
    page.press("Escape")
    page.wait("document.querySelector('#objects button').getAttribute('aria-pressed') === 'false'")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 600), (390, 844), (320, 568)])
def test_nothing_is_cut_on_a_screen_of_this_size(page, width, height, tmp_path):
    page.resize(width, height)
    page.do(PAINTED)
    assert page.do("document.documentElement.scrollWidth") <= width
    cut = page.do("""[...document.querySelectorAll('header *, main *')].filter(element => {
        const area = element.getBoundingClientRect();
        return area.width > 0 && (area.left < -0.5 || area.right > innerWidth + 0.5);
    }).map(element => element.outerHTML.slice(0, 80))""")
    assert cut == []
    assert page.do("canvas.clientHeight / canvas.clientWidth") == pytest.approx(72 / 64, rel=0.02)
    page.screenshot(tmp_path / "page.png")
    assert cv2.imread(str(tmp_path / "page.png")).shape[:2] == (height, width)


def test_kinds_that_the_browser_cannot_show_come_back_from_the_server(page, found, picture_file, tmp_path):
    picture = cv2.imread(str(picture_file))
    cv2.imwrite(str(tmp_path / "as.tif"), picture)
    page.choose("#file", tmp_path / "as.tif")
    page.wait("canvas.getAttribute('aria-label').startsWith('as.tif')")
    page.click("#show-masks")
    page.click("#show-labels")
    np.testing.assert_allclose(pixels(page).astype(int), picture[:, :, ::-1], atol=60)
    assert page.do(COUNT) == len(found)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])  # browsers turn the first two themselves
def test_a_picture_that_was_turned_is_shown_as_the_model_saw_it(page, tmp_path, kind):
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter turn
    stored = np.zeros((40, 100, 3), np.uint8)
    stored[:, :50] = 255
    Image.fromarray(stored).save(tmp_path / f"turned.{kind}", exif=exif)
    seen = cv2.imread(str(tmp_path / f"turned.{kind}"))
    height, width = seen.shape[:2]
    page.choose("#file", tmp_path / f"turned.{kind}")
    page.wait(f"{STATUS}.endsWith('{width} {TIMES} {height}')")
    page.click("#show-masks")
    page.click("#show-labels")
    assert np.abs(pixels(page, (height, width)).astype(int) - seen).mean() < 10


def test_a_file_that_is_refused_is_told_in_a_sentence_and_the_picture_stays(open_page, url, picture_file, tmp_path):
    page = open_page(url)
    (tmp_path / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    page.choose("#file", tmp_path / "drawing.svg")
    told = page.wait("!document.getElementById('trouble').hidden && document.getElementById('trouble').innerText")
    assert told.startswith("drawing.svg: The upload is not a PNG, JPEG, WebP, BMP, GIF or TIFF picture")
    page.choose("#file", picture_file)
    page.wait(OPENED)
    assert page.do("document.getElementById('trouble').hidden")
    page.choose("#file", tmp_path / "drawing.svg")
    page.wait("!document.getElementById('trouble').hidden")
    assert page.do("canvas.getAttribute('aria-label')").startswith("picture 0.png")
    page.click("#trouble button")
    page.wait("document.getElementById('trouble').hidden")


def test_a_file_that_is_too_large_is_not_sent(open_page, start_server, tmp_path):
    page = open_page(start_server(Limits(max_bytes=1_500_000)))
    assert "up to 1.5 MB and 40 megapixels" in page.do("document.getElementById('limits').textContent")
    (tmp_path / "large.png").write_bytes(bytes(2_000_000))
    page.choose("#file", tmp_path / "large.png")
    told = page.wait("!document.getElementById('trouble').hidden && document.getElementById('trouble').innerText")
    assert told.startswith("large.png has 2.0 MB, more than the limit of 1.5 MB.")
    assert not any(address.endswith("/api/instances") for address in page.requests())


def test_a_dropped_and_a_pasted_picture_are_opened(open_page, url, picture_file):
    page = open_page(url)
    content = json.dumps(list(picture_file.read_bytes()))
    transfer = f"""(() => {{
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array({content})], NAME, {{type: 'image/png'}}));
        return data;
    }})()"""
    dropped, pasted = transfer.replace("NAME", "'dropped.png'"), transfer.replace("NAME", "'pasted.png'")
    page.do(f"document.body.dispatchEvent(new DragEvent('drop', {{dataTransfer: {dropped}, bubbles: true}}))")
    page.wait("canvas.getAttribute('aria-label')?.startsWith('dropped.png')")
    page.do(f"document.body.dispatchEvent(new ClipboardEvent('paste', {{clipboardData: {pasted}, bubbles: true}}))")
    page.wait("canvas.getAttribute('aria-label').startsWith('pasted.png')")
    assert page.complaints() == []


def test_the_camera_sends_one_frame_at_a_time_until_it_is_stopped(open_page, url):
    page = open_page(url)
    page.click("#welcome .camera")
    page.wait("!document.getElementById('live').hidden")
    sent = "performance.getEntriesByName(new URL('api/instances', location).href)"
    page.wait(f"{sent}.length > 3")
    times = page.do(f"{sent}.map(({{startTime, responseEnd}}) => [startTime, responseEnd])")
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))
    page.click(".actions .camera")
    page.wait("document.getElementById('live').hidden")
    assert page.do("document.getElementById('video').srcObject.active") is False
    page.do("new Promise(done => setTimeout(done, 300))")
    count = page.do(f"{sent}.length")
    page.do("new Promise(done => setTimeout(done, 300))")
    assert page.do(f"{sent}.length") == count
    assert page.do("canvas.getAttribute('aria-label')").startswith("camera.jpg")  # the last frame stays
    assert page.complaints() == []


def test_a_server_that_has_gone_is_told(open_page, url, picture_file):
    page = open_page(url)
    page.tell("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    page.choose("#file", picture_file)
    told = page.wait("!document.getElementById('trouble').hidden && document.getElementById('trouble').innerText")
    assert "The server does not answer" in told
    assert page.do("document.getElementById('progress').hidden")
