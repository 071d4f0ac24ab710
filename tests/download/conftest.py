"""A server with one file, and ways to download it."""

import hashlib
import random

import pytest

from yolact.download import fetch, fetching
from yolact.errors import DownloadError

CONTENT = random.Random(0).randbytes(300_000)
KNOWN = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(fetching, "FIRST_PAUSE", 0.0)


@pytest.fixture
def content():
    """Return the 300,000 bytes of the file."""
    return CONTENT


@pytest.fixture
def other():
    """Return the bytes of another file of the same length."""
    return random.Random(1).randbytes(300_000)


@pytest.fixture
def verified():
    """Return the arguments of a caller who knows size and SHA-256."""
    return dict(KNOWN)


@pytest.fixture(params=[KNOWN, {}], ids=["verified", "nothing known"])
def known(request):
    """Return the arguments of a caller who knows everything, and of one who knows nothing."""
    return request.param


@pytest.fixture
def server(file_server):
    file_server.files["/big.bin"] = CONTENT
    return file_server


@pytest.fixture
def path(tmp_path):
    """Return where the file is to go; the folder is not there yet."""
    return tmp_path / "new" / "big.bin"


@pytest.fixture
def get(server, path):
    """Return a function that downloads, and sees that under the final name is only ever the whole file."""

    def download(**known):
        try:
            assert fetch(f"{server.url}/big.bin", path, progress=False, **known) == path
        finally:
            if path.exists():
                assert path.read_bytes() == server.files["/big.bin"]
                assert [file.name for file in path.parent.iterdir()] == [path.name]

    return download


@pytest.fixture
def refused(get, path):
    """Return a function that downloads in vain and returns the one sentence that says why."""

    def download(message, **known):
        with pytest.raises(DownloadError, match=message) as caught:
            get(**known)
        assert not path.exists()
        text = str(caught.value)
        assert "\n" not in text
        assert text.endswith(".")
        return text

    return download


@pytest.fixture
def part(path, content, server):
    """Return a function that leaves a part as an earlier run does."""

    def leave(data):
        path.parent.mkdir()
        name = path.with_name("big.bin.part")
        name.write_bytes(data)
        tag = hashlib.sha256(content).hexdigest()
        name.with_name("big.bin.part.tag").write_text(f'{server.url}/big.bin\n"{tag}"')
        return name

    return leave
