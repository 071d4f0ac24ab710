"""The rules that the pages of evaluations add to the common style sheet."""

STYLE = """
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 14px 0 6px; }
.tile { background: #f3f6f9; border-radius: 8px; padding: 10px 18px; min-width: 120px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: #4a5563; font-size: 13px; }
.note { color: #4a5563; font-size: 14px; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.better { color: #14532d; } .worse { color: #b02a1a; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th button::after { content: " \\2195"; color: #9aa5b1; }
th[aria-sort="ascending"] button::after { content: " \\2191"; color: #1c2530; }
th[aria-sort="descending"] button::after { content: " \\2193"; color: #1c2530; }
.tall { max-height: 640px; overflow-y: auto; }
.tall th { position: sticky; top: 0; background: #fff; }
@media print { .tall { max-height: none; } .tall th { position: static; } }
select { font: inherit; padding: 3px 8px; max-width: 100%; }
.grid { display: block; margin: 10px 0; }
.grid text { pointer-events: none; }
.compared { margin: 0 0 22px; }
.compared img { display: block; width: 100%; max-width: 1100px; border: 1px solid #e3e8ee; }
figure { margin: 10px 0; }
summary { cursor: pointer; margin: 8px 0; }
"""
