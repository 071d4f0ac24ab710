"""Downloading large files: resumed where they broke off, checked, and under their name only when they are whole."""

from yolact.download.fetching import fetch
from yolact.download.web import fetch_json

__all__ = ["fetch", "fetch_json"]
