# Sourced by the other shell programs: `prepare_environment [EXTRA]` makes .venv at the top of the repository, installs
# the requirements and the package into it where they changed since the last time, and sets $python to its interpreter.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "error: $*" >&2
    exit 1
}

prepare_environment() {
    local extra="${1:-}" system="${PYTHON:-python3}" stamp wanted trouble
    if [ ! -e .venv ]; then
        "$system" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
            fail "Python 3.10 or newer is needed, but $system is '$("$system" --version 2>/dev/null || echo missing)': install one, or name it: PYTHON=/path/to/python3 bash $0"
        "$system" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "$system cannot make virtual environments: install its venv module (Debian and Ubuntu: apt-get install python3-venv)"
        echo "== Making .venv with $("$system" --version)"
        "$system" -m venv .venv
    fi
    python=.venv/bin/python
    [ -x "$python" ] || python=.venv/Scripts/python.exe # Windows
    local pip=("$python" -m pip --quiet --disable-pip-version-check)
    "${pip[@]}" --version >/dev/null 2>&1 || fail ".venv does not work (unfinished, or its Python has moved): delete .venv and run this again"

    # The checksum of everything that decides what is installed.
    stamp=".venv/installed${extra:+-$extra}"
    wanted="$(cat requirements.txt setup.py pyproject.toml scripts/environment.sh | cksum)"
    if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
        echo "== Installing into .venv (the first time PyTorch takes some minutes)"
        # setuptools, because without build isolation pip does not fetch it, and new virtual environments lack it.
        { "${pip[@]}" install -r requirements.txt 'setuptools>=70.1' &&
            "${pip[@]}" install --no-build-isolation -e ".${extra:+[$extra]}"; } ||
            fail "the installation failed for the reason above; mend it and run this again"
        echo "$wanted" >"$stamp"
    fi
    trouble="$("$python" -c 'import cv2' 2>&1)" ||
        fail "OpenCV cannot be imported (${trouble##*$'\n'}): install what is missing (for libGL, libgthread and libglib on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0), or use OpenCV without windows: .venv/bin/pip uninstall --yes opencv-python && .venv/bin/pip install opencv-python-headless"
}
