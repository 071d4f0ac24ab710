"""The smallest pieces of a page's HTML, and the page around them: one file that asks nothing of any other host."""

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from yolact.pages.style import STYLE
from yolact.text import printable

# Nothing is loaded from anywhere, whatever a data set writes into its names.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, body: Iterable[str], style: str = "", script: str = "") -> str:
    """Return a page.

    Args:
        title: any text.
        body: HTML.
        style: rules that the page needs beyond the common ones.
        script: the only one that the page will run.
    """
    policy, scripts = POLICY, ""
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy, scripts = f"{POLICY}; script-src 'sha256-{digest}'", f"<script>{script}</script>\n"
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title><style>{STYLE}{style}</style></head>\n<body>",
        *body,
        f"{scripts}</body></html>\n",
    ]
    return "\n".join(parts)


def text(value: str) -> str:
    """Return any text as HTML."""
    return escape(printable(value))


def code(value: str) -> str:
    """Return any text as HTML in a fixed-width font."""
    return f"<code>{text(value)}</code>"


def block(value: str) -> str:
    """Return text of several lines as HTML, whole, in a fixed-width font."""
    lines = (escape(printable(line, len(line))) for line in value.split("\n"))
    return "<pre>" + "\n".join(lines) + "</pre>"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; the cells are HTML already."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def picture(jpeg: bytes, name: str) -> str:
    """Return a JPEG file as a picture within the page; `name` is any text."""
    return f'<img alt="{text(name)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
