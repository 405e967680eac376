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
.meanfield { font: 16px/1.55 system-ui, "Segoe UI", "Liberation Sans", sans-serif; color: #1c2733;
  background: #fff; color-scheme: light; max-width: 64rem; margin: 0 auto; padding: .5rem 1rem 2rem;
  text-align: left; }
.meanfield h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.2rem 0 1rem; }
.meanfield h1 small { display: block; font-size: 1rem; font-weight: 400; color: #5b6875; }
.meanfield h3 { font-size: .95rem; margin: .8rem 0 .2rem; color: #5b6875; }
.meanfield h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
.meanfield .cards { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); }
.meanfield .cards div { background: #eef4fa; border-left: .25rem solid #0072b2;
  border-radius: .3rem; padding: .6rem .9rem; }
.meanfield .cards span { display: block; font-size: .85rem; color: #5b6875; }
.meanfield .cards b { font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.meanfield .panels { display: grid; gap: .8rem; margin-top: 1.2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.meanfield img { width: 100%; height: auto; display: block; }
.meanfield dl { display: grid; grid-template-columns: 11rem 13rem 1fr; margin: 0; }
.meanfield dl > * { margin: 0; padding: .5rem 1rem .5rem 0; border-top: 1px solid #dde4ea; }
.meanfield dt { color: #5b6875; overflow-wrap: anywhere; }
.meanfield dd b { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.meanfield pre { background: #f4f6f8; border-radius: .3rem; padding: .8rem 1rem; overflow-x: auto;
  font-size: .85rem; line-height: 1.5; margin: .4rem 0; }
.meanfield ul { padding-left: 1.2rem; } .meanfield a { color: #0060a0; }
@media (max-width: 48rem) {
  .meanfield dl { display: block; }
  .meanfield dl > * { border: 0; padding: 0; }
  .meanfield dt { border-top: 1px solid #dde4ea; padding-top: .5rem; }
  .meanfield dd + dd { padding-bottom: .5rem; color: #44525f; }
}
@media print { .meanfield dl > *, .meanfield img { break-inside: avoid; } }
"""


def fragment(report: "Report", pictures: str = "") -> str:
    """The report without the page around it."""
    name = escape(report.activation.name)
    parts = [
        f"<style>{_STYLE}</style><div class='meanfield'>",
        f"<h1>{name}<small>how to initialise it, and how deep</small></h1>",
        _cards(report),
        pictures,
    ]
    for section in report.sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        rows = [
            f"<dt>{escape(name)}</dt><dd><b>{escape(value)}</b></dd><dd>{escape(advice)}</dd>"
            for name, value, advice in section.entries
        ]
        if rows:
            parts.append(f"<dl>{''.join(rows)}</dl>")
        for block in section.code:
            parts.append(f"<h3>{escape(block.title)}</h3><pre>{escape(str(block))}</pre>")
    parts.append("<h2>References</h2><ul>")
    for key in report.references:
        paper = PAPERS[key]
        link = f"https://arxiv.org/abs/{paper.eprint}"
        parts.append(f"<li><a href='{link}'>{escape(str(paper))}</a>: {escape(paper.about)}</li>")
    return "\n".join([*parts, "</ul></div>"])


def _cards(report: "Report") -> str:
    """What nobody should have to look for."""
    cards = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b></div>"
        for name, value in report.headline
    )
    return f"<div class='cards'>{cards}</div>"


def page(report: "Report") -> str:
    """A whole page, its pictures inside."""
    from meanfield.plot.report import figures

    pictures = "".join(
        f"<img alt='{escape(title, quote=True)}' src='{_source(figure)}'>"
        for title, figure in figures(report)
    )
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(report.activation.name)}: meanfield report</title></head>\n"
        f"<body style='margin: 0'>\n"
        f"{fragment(report, f'<div class=panels>{pictures}</div>')}\n</body></html>\n"
    )


def _source(figure) -> str:
    image = BytesIO()
    figure.savefig(image, format="png", dpi=200)
    return f"data:image/png;base64,{b64encode(image.getvalue()).decode('ascii')}"
