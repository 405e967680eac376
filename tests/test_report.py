"""The report: it says what the rest of the package computes, for any activation, in any form."""

import html.parser
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

import meanfield as mf
from meanfield.cli import main
from pictures import forbid_side_effects


@pytest.fixture(scope="module")
def tanh() -> mf.Report:
    return mf.report("tanh", depth=20, width=200)


def values(page: mf.Report) -> dict[str, str]:
    return {entry.name: entry.value for section in page.sections for entry in section.entries}


def test_it_says_what_is_computed(tanh: mf.Report) -> None:
    point = mf.critical("tanh", q=1.0)
    said = values(tanh)
    assert float(said["weight_var"]) == pytest.approx(float(point.weight_var), rel=1e-12)
    assert float(said["bias_var"]) == pytest.approx(float(point.bias_var), rel=1e-11)
    assert said["kinks"] == "none" and said["class K*=0"] == "q = 0"
    assert said["dynamical isometry"] == "at zero"
    best = mf.isometry("tanh", depth=20).q_for_depth(20)
    assert float(said["q for 20 layers"]) == pytest.approx(best, rel=1e-3)
    spectrum = mf.jacobian_spectrum(point, depth=20, weights="orthogonal")
    assert float(said["largest singular value"]) == pytest.approx(spectrum.s_max, rel=1e-9)
    most = mf.finite_width(point, depth=20, width=200).recommended_depth
    assert said["depth at width 200"] == f"{most:.0f} at most"


def test_every_number_has_its_sentence(tanh: mf.Report) -> None:
    for section in tanh.sections:
        for entry in section.entries:
            assert entry.advice.endswith(".")


def test_the_lines_to_paste_run(tanh: mf.Report) -> None:
    code = next(section.code for section in tanh.sections if section.code)
    lines = [line for line in code if not line.startswith("#") and "bridges" not in line]
    scope: dict[str, Any] = {"phi": "tanh"}
    exec("\n".join(lines), scope)
    assert scope["point"].weight_var == pytest.approx(scope["weight_var"], rel=1e-11)


@pytest.mark.parametrize(
    ("phi", "q"),
    [("relu", 1.0), ("gelu", 5.0), ("sigmoid", 50.0), ("hard_tanh", 1.0)],
)
def test_the_recommended_variance(phi: str, q: float) -> None:
    """A round one near 1 that is held: GELU holds none below 3.56, sigmoid has none below 45.6."""
    findings = mf.report(phi, depth=4).findings
    assert findings.point is not None and findings.point.q == q and findings.holds
    assert findings.clip is None and not findings.missing


def test_clipping_is_advised_where_it_helps() -> None:
    findings = mf.report(mf.Activation("shifted_relu", tau=0.7), depth=4).findings
    assert not findings.holds and findings.clip is not None
    assert float(findings.clip.point.variance_slope) == pytest.approx(0.7, abs=1e-8)
    code = str(mf.report(mf.Activation("shifted_relu", tau=0.7), depth=4))
    assert "mf.clip_threshold(phi, q=1).point" in code


def test_no_edge_of_chaos() -> None:
    page = mf.report("step", depth=4)
    assert values(page)["edge of chaos"] == "none here" and values(page)["jumps"] == "0"
    assert "weight_var" not in values(page)
    assert "no edge of chaos at any q" in " ".join(str(page).split())
    assert all(entry.advice.endswith(".") for section in page.sections for entry in section.entries)
    assert page.headline == (("edge of chaos", "none here"),)


def test_json_and_text(tanh: mf.Report, tmp_path: Path) -> None:
    tanh.save(tmp_path / "page.json")
    read = json.loads((tmp_path / "page.json").read_text())
    assert read == tanh.to_dict() and read["activation"] == "tanh"
    tanh.save(tmp_path / "page.txt")
    assert (tmp_path / "page.txt").read_text() == f"{tanh}\n"
    with pytest.raises(ValueError, match=r"path: must end in .*, got '.*page.docx'"):
        tanh.save(tmp_path / "page.docx")


class Reader(html.parser.HTMLParser):
    """Tags that are open, links outwards, and cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name == "src"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "b":
            self.cells.append(data)


def test_the_page_is_whole_and_self_contained(tanh: mf.Report, tmp_path: Path) -> None:
    tanh.save(tmp_path / "page.html")
    reader = Reader()
    reader.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not reader.open
    assert values(tanh)["weight_var"] in reader.cells
    assert len(reader.sources) == 6
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert "<img" not in tanh._repr_html_()


def test_names_are_escaped() -> None:
    page = mf.report(mf.Activation(jnp.tanh, name="<script>"), depth=2)
    assert "<script>" not in page._repr_html_() and "&lt;script&gt;" in page._repr_html_()


def test_panels(tanh: mf.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    grid = plt.figure(figsize=(12, 7)).subplots(2, 3).ravel().tolist()
    forbid_side_effects(monkeypatch)
    axes = tanh.plot(ax=grid)
    assert len(axes) == 6 and all(ax.get_title() and ax.get_xlabel() for ax in axes)
    with pytest.raises(ValueError, match="ax: the report has 6 panels, got 2 axes"):
        tanh.plot(ax=grid[:2])
    monkeypatch.undo()
    plt.close("all")


def test_citations(tanh: mf.Report) -> None:
    for key in tanh.references:
        assert mf.citation(key).startswith(f"@misc{{{key},") and key in str(tanh)
    assert mf.citation().count("@misc") >= len(tanh.references)
    with pytest.raises(ValueError, match="key: must be one of poole2016, .*; got 'poole'"):
        mf.citation("poole")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "tanh", "--depth", "4", "-o", str(tmp_path / "tanh.html")]) == 0
    assert "wrote" in capsys.readouterr().out and (tmp_path / "tanh.html").stat().st_size > 50_000
    assert main(["report", "relu", "--depth", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["activation"] == "relu"
    with pytest.raises(SystemExit):
        main(["report", "tanh", "-o", str(tmp_path / "tanh.docx")])
    assert "the suffix must be one of .html" in capsys.readouterr().err


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="q: "):
        mf.report("tanh", q=-1.0)
    with pytest.raises(ValueError, match="width"):
        mf.report("tanh", width=0)
    with pytest.raises(ValueError, match="depth: must be at least 1, got 0"):
        mf.report("tanh", depth=0)
