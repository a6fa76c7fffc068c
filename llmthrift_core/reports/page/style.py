"""The style of the page: light and dark by the reader's system, figures in columns, A4 in print. Nothing is fetched."""

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--page:#fff;--text:#1c2024;--quiet:#60646c;--line:#dfe2e6;--band:#f6f7f9;--accent:#0b7a75;
--s1:#0b7a75;--s2:#e08e2b;--s3:#8d8fa3;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--page:#16181c;--text:#e6e8eb;--quiet:#9aa0a8;--line:#33373d;--band:#1e2126;--accent:#4fc3b8;
--s1:#3fb3a9;--s2:#e5a253;--s3:#8487a0;--bad:#f2998f}}
*{box-sizing:border-box}
html{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Noto Color Emoji",sans-serif;background:var(--page);
color:var(--text);-webkit-text-size-adjust:100%}
body{max-width:66rem;margin:0 auto;padding:2.5rem 1.5rem 4rem}
h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.01em;margin:0}
h2{font-size:1.15rem;margin:2.75rem 0 .75rem;break-after:avoid}
p{margin:.5rem 0;max-width:46rem}
.quiet,footer{color:var(--quiet)}
footer{margin-top:3rem;border-top:1px solid var(--line);padding-top:.75rem;font-size:.85rem}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(11.5rem,1fr));border:1px solid var(--line);
border-radius:.5rem;overflow:hidden;margin:1.5rem 0}
dl div{box-shadow:0 0 0 .5px var(--line);padding:.75rem 1rem}
dt{font-size:.8rem;color:var(--quiet)}
dd{margin:0;font-size:1.3rem;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
dd small{display:block;font-size:.8rem;font-weight:400;color:var(--quiet);white-space:normal}
figure{margin:1.5rem 0;break-inside:avoid}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.25rem 1rem;
font-size:.9rem;color:var(--quiet);margin-bottom:.25rem}
.legend span{margin-left:1rem}.legend i{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.4em}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--quiet);font-variant-numeric:tabular-nums}
.grid{stroke:var(--line)}.axis{stroke:var(--quiet)}
rect.s1{fill:var(--s1)}rect.s2{fill:var(--s2)}rect.s3{fill:var(--s3)}
i.s1{background:var(--s1)}i.s2{background:var(--s2)}
i.s3{background:var(--s3)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .5rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--quiet);font-size:.8rem}
th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:8rem;padding-left:0}
td.text,th.text{text-align:left;white-space:normal;min-width:12rem;overflow-wrap:anywhere}
tfoot th{color:var(--text);border-bottom:0;border-top:1px solid var(--quiet)}
tr{break-inside:avoid}thead{display:table-header-group}tfoot{display:table-row-group}
.bar{display:block;height:3px;margin-top:.3rem;background:var(--accent);border-radius:2px}
article{border:1px solid var(--line);border-radius:.5rem;padding:.9rem 1.1rem;margin:.75rem 0;break-inside:avoid}
article h3{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.25rem 1rem;font-size:1rem;margin:0}
article h3 span{font-variant-numeric:tabular-nums}
article p{margin:.35rem 0}
pre{background:var(--band);border-radius:.35rem;padding:.6rem .8rem;margin:.6rem 0 0;overflow-x:auto;
white-space:pre-wrap;overflow-wrap:anywhere;
font:.8rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@page{size:A4;margin:16mm 14mm}
@media print{:root{--page:#fff;--text:#000;--quiet:#555;--line:#ccc;--band:#f4f4f4;--accent:#0b7a75;
--s1:#0b7a75;--s2:#e08e2b;--s3:#8d8fa3}
html{font-size:11px}body{max-width:none;padding:0}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}.scroll{overflow:visible}
th,td{padding:.3rem .4rem}}
"""
