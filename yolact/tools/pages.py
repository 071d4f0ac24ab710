"""HTML pages: jinja2 templates of `templates/` and matplotlib figures as SVG, in one file that asks no other host."""

import base64
import io
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from yolact.text import counted, percent, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito: told apart by everybody


def render(template: str, **context: Any) -> str:
    """Render `templates/TEMPLATE`; every value is escaped unless it is `Markup`.

    Templates have the filters `printable` (foreign text without control characters), `counted` and `percent`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("yolact.tools"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": printable, "counted": counted, "percent": percent}
    return environment.get_template(template).render(**context) + "\n"


def svg(figure: "Figure") -> Markup:
    """Return a matplotlib figure as an SVG element; its text stays text, in the page's font."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "yolact", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = stream.getvalue()
    return Markup(text[text.index("<svg") :])


def data_uri(jpeg: bytes) -> str:
    """Return a JPEG file as an address that an `img` shows without asking anybody."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
