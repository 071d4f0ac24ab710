"""The style sheet of every page: light, readable at the width of a laptop, and printable."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito: told apart by everybody
BLUE, ORANGE, GREY = COLOURS[0], COLOURS[1], "#9aa5b1"

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 24px 32px 64px; max-width: 1180px; color: #1c2530; background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 36px 0 8px; padding-top: 10px; border-top: 2px solid #e3e8ee; }
p { margin: 6px 0; }
b { white-space: nowrap; }
code, pre { font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: #f3f6f9; padding: 10px 12px; border-radius: 6px; white-space: pre-wrap; margin: 6px 0; }
.plain { list-style: none; padding: 0; margin: 8px 0; }
.verdict { font-weight: 600; padding: 10px 14px; border-radius: 6px; }
.verdict.error { background: #fde8e6; color: #8f1d14; }
.verdict.warning { background: #fff3d6; color: #6b4700; }
.verdict.good { background: #e2f4e8; color: #14532d; }
table { border-collapse: collapse; font-size: 14px; }
td, th { padding: 3px 16px 3px 0; vertical-align: top; border-bottom: 1px solid #edf0f4; overflow-wrap: break-word; }
th { text-align: left; font-weight: 600; color: #4a5563; white-space: nowrap; }
.scroll { overflow-x: auto; margin: 8px 0; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 20px; }
.columns figure { margin: 10px 0; }
svg { width: 100%; height: auto; max-width: 640px; }
svg text { font-size: 11px; fill: #1c2530; }
svg .tick { fill: #4a5563; font-size: 10.5px; }
svg .axis { fill: #4a5563; font-size: 12px; }
figcaption b { white-space: normal; }
figcaption { font-size: 13px; margin-top: 4px; overflow-wrap: anywhere; }
"""
