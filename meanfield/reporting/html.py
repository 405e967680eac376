"""A report as HTML: a fragment for notebooks, and a page that needs nothing beside it."""

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from meanfield.reporting.citations import PAPERS

if TYPE_CHECKING:
    from meanfield.reporting.report import Report

__all__ = ["fragment", "page"]

_STYLE = """
.meanfield { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; color: #1a1a1a;
             background: #fff; padding: 0 1rem; margin: 0 auto; }
.meanfield h1 { font-size: 1.5rem; } .meanfield h2 { font-size: 1.1rem; margin-bottom: .3rem; }
.meanfield table { border-collapse: collapse; width: 100%; }
.meanfield td { vertical-align: top; padding: .3rem .8rem .3rem 0; border-top: 1px solid #ddd;
                text-align: left; }
.meanfield td:nth-child(2) { font-variant-numeric: tabular-nums; font-weight: 600; }
.meanfield td:nth-child(3) { color: #444; width: 55%; }
.meanfield pre { background: #f5f5f5; padding: .7rem; overflow-x: auto; text-align: left; }
.meanfield img { width: 100%; }
"""


def fragment(report: "Report", picture: str = "") -> str:
    """The report without the page around it."""
    parts = [f"<style>{_STYLE}</style><div class='meanfield'>",
             f"<h1>{escape(report.activation.name)}: how to initialise it, and how deep</h1>",
             picture]  # fmt: skip
    for section in report.sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        rows = [
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in entry) + "</tr>"
            for entry in section.entries
        ]
        if rows:
            parts.append(f"<table>{''.join(rows)}</table>")
        if section.code:
            parts.append(f"<pre>{escape(chr(10).join(section.code))}</pre>")
    parts.append("<h2>References</h2><ul>")
    for key in report.references:
        link = f"https://arxiv.org/abs/{PAPERS[key].eprint}"
        parts.append(f"<li><a href='{link}'>{escape(str(PAPERS[key]))}</a></li>")
    return "\n".join([*parts, "</ul></div>"])


def page(report: "Report") -> str:
    """A whole page, its figure inside."""
    from meanfield.plot.report import figure

    image = BytesIO()
    figure(report).savefig(image, format="png", dpi=150)
    data = b64encode(image.getvalue()).decode("ascii")
    name = escape(report.activation.name)
    picture = f"<img alt='diagrams of {name}' src='data:image/png;base64,{data}'>"
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>\n"
        f"<title>{name}: meanfield report</title></head><body>\n"
        f"{fragment(report, picture)}\n</body></html>\n"
    )
