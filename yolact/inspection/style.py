"""The rules that the page of the data check adds to the common style sheet."""

STYLE = """
.finding { border: 1px solid #e3e8ee; border-left-width: 5px; border-radius: 6px; padding: 8px 14px; margin: 10px 0; }
.finding.error { border-left-color: #c8321f; }
.finding.warning { border-left-color: #e0a100; }
.finding summary { cursor: pointer; }
.finding .level { display: inline-block; min-width: 62px; font-weight: 600; }
.finding.error .level { color: #b02a1a; }
.finding.warning .level { color: #8a6100; }
.finding .set { background: #eef2f6; border-radius: 10px; padding: 1px 9px; font-size: 13px; }
.finding summary code { color: #6a7683; float: right; }
.more { color: #6a7683; }
.suggestion { background: #eaf4fb; border-radius: 6px; padding: 8px 14px; margin: 10px 0; }
.suggestion pre { background: #fff; }
.classes { column-width: 340px; column-gap: 28px; }
.classes.few { max-width: 620px; column-width: auto; }
.class { display: flex; align-items: center; gap: 8px; break-inside: avoid; font-size: 13.5px; }
.class .name { flex: 0 0 130px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.class .track { flex: 1; background: #f0f3f6; height: 10px; border-radius: 3px; overflow: hidden; }
.class .bar { display: block; height: 100%; background: #0072b2; }
.class .count { flex: 0 0 auto; min-width: 84px; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 18px; align-items: start; }
.picture { margin: 0; }
.picture img { display: block; width: 100%; height: 230px; object-fit: contain; background: #f3f6f9;
  border-radius: 4px; }
figcaption ul { margin: 2px 0; padding-left: 18px; color: #b02a1a; }
"""
