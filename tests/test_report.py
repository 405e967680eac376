"""The report: it says what the rest of the package computes, for any activation, in any form."""

import functools
import html.parser
import json
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf
from meanfield.cli import main
from meanfield.reporting.findings import width_needed
from meanfield.reporting.paste import definition
from meanfield.strict_json import strict_json
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
    square = mf.finite_width(point, depth=20, width=200, weights="orthogonal").recommended_depth
    assert said["depth at width 200"] == f"{most:.0f} (orthogonal: {square:.0f})"


def test_every_number_has_its_sentence(tanh: mf.Report) -> None:
    for section in tanh.sections:
        for entry in section.entries:
            assert entry.advice.endswith(".")


def blocks(page: mf.Report) -> dict[str, str]:
    return {block.title: str(block) for section in page.sections for block in section.code}


def swoosh(x: jax.Array, bend: float = 1.0) -> jax.Array:
    return x * jnp.tanh(jax.nn.softplus(bend * x))


class Bent:
    @staticmethod
    def twice(x: jax.Array) -> jax.Array:
        return swoosh(x, 2.0)

    def __init__(self, bend: float) -> None:
        self.bend = bend

    def __call__(self, x: jax.Array) -> jax.Array:
        return swoosh(x, self.bend)


@pytest.mark.parametrize(
    "phi",
    [mf.Activation("shifted_relu", tau=0.7), mf.Activation(swoosh, bend=2.0, kinks=[0.5])],
    ids=["clipped", "a function"],
)
def test_each_block_to_paste_runs_alone(phi: Any) -> None:
    """And gives what the report recommends."""
    page = mf.report(phi, depth=3, width=50)
    clip = page.findings.clip
    chosen = page.findings.point if clip is None else clip.point
    assert chosen is not None
    found = blocks(page)
    for title in ("jax", "anywhere"):
        scope: dict[str, Any] = {}
        exec(found[title], scope)
    assert scope["weight_var"] == pytest.approx(float(chosen.weight_var), rel=1e-11)
    assert scope["W"].shape == (512, 256) and scope["b"].shape == (512,)
    scope = {}
    exec(found["jax"], scope)
    assert float(scope["point"].weight_var) == pytest.approx(float(chosen.weight_var), rel=1e-11)
    assert scope["kernel"].shape == (256, 512) and scope["bias"].shape == (512,)
    assert found["jax"].splitlines()[1:-3] == found["torch"].splitlines()[1:-2]


@pytest.mark.parametrize(
    ("framework", "module"),
    [
        pytest.param("torch", "torch", marks=pytest.mark.torch),
        *(
            pytest.param(name, module, marks=pytest.mark.frameworks)
            for name, module in [
                ("flax", "flax"), ("equinox", "equinox"), ("keras", "keras"), ("haiku", "haiku")
            ]
        ),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of keras
def test_blocks_for_frameworks_run(
    framework: str, module: str, tanh: mf.Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip(module, reason=f"pip install '.[{framework}]'")
    scope: dict[str, Any] = {}
    with jax.numpy_rank_promotion("allow"):
        exec(blocks(tanh)[framework], scope)
        if framework == "keras":
            scope["layer"].build((None, 256))
    made = {
        "torch": lambda: scope["model"][1].weight.detach().numpy(),
        "flax": lambda: scope["layer"].kernel[...].T,
        "equinox": lambda: scope["model"].layers[1].weight,
        "keras": lambda: np.asarray(scope["layer"].kernel).T,
        "haiku": lambda: scope["parameters"]["linear"]["w"].T,
    }[framework]()
    found = float(np.mean(np.asarray(made) ** 2)) * made.shape[1]
    expected = float(mf.critical("tanh", q=1.0).weight_var)
    assert found == pytest.approx(expected, rel=5 * (2 / made.size) ** 0.5)


@pytest.mark.parametrize(
    ("phi", "first"),
    [
        (mf.Activation("crelu", tau=1.0, m=1.5), "phi = "),
        (mf.Activation(swoosh, bend=2.0), "from test_report import swoosh"),
        (mf.Activation(jnp.tanh), "from jax.numpy import tanh"),
        (mf.Activation(jax.nn.gelu), "from jax.nn import gelu"),
        (mf.Activation(np.tanh, kinks=[1.0]), "from numpy import tanh"),
        (mf.Activation(Bent.twice), "from test_report import Bent"),
        (mf.Activation(Bent, bend=0.5), "from test_report import Bent"),
    ],
)
def test_the_lines_that_name_an_activation(phi: mf.Activation, first: str) -> None:
    lines = definition(phi)
    assert lines[0].startswith(first)
    scope: dict[str, Any] = {"mf": mf}
    exec("\n".join(lines), scope)
    x = np.linspace(-2, 2, 5)
    np.testing.assert_array_equal(scope["phi"](x), phi(x))
    assert scope["phi"].name == phi.name


def test_a_function_without_a_name() -> None:
    """There is a place to put it; one of a script is called by its name."""
    block = definition(mf.Activation(lambda x: jnp.tanh(x)))
    assert block[-1] == "phi = mf.Activation(...)" and "no name to import" in block[0]
    assert definition(mf.Activation(functools.partial(swoosh, bend=2.0)))[-1] == block[-1]
    function = types.FunctionType(swoosh.__code__, globals(), "mine")
    function.__module__ = "__main__"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["__main__"], "mine", function, raising=False)
        assert definition(mf.Activation(function, bend=1.0)) == (
            "phi = mf.Activation(mine, bend=1.0)  # as you defined it",
        )


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
    assert read == json.loads(strict_json(tanh.to_dict())) and read["activation"] == "tanh"
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


def test_numbers_for_programs(tanh: mf.Report, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` holds floats, infinity as strict JSON has it, and names of verdicts."""
    assert main(["report", "tanh", "--depth", "20", "--width", "200", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["depth"] == 20 and page["width"] == 200
    numbers, point = page["numbers"], mf.critical("tanh", q=1.0)
    for name in ("q", "weight_var", "bias_var", "chi1", "variance_slope", "depth_scale_q"):
        assert numbers["point"][name] == pytest.approx(float(getattr(point, name)), rel=1e-12)
    assert numbers["point"]["depth_scale_c"] == "inf" and numbers["point"]["holds"] is True
    decay = mf.correlation_map(point).decay
    assert numbers["correlations"]["coefficient"] == pytest.approx(decay.coefficient, rel=1e-9)
    assert numbers["correlations"]["layers_to_alike"] == tanh.findings.layers_to_alike
    judged = mf.isometry("tanh", depth=20)
    assert numbers["isometry"]["verdict"] == judged.verdict.name == "AT_ZERO"
    assert numbers["isometry"]["best_q"] == pytest.approx(judged.best_q, rel=1e-9)
    spectrum = mf.jacobian_spectrum(point, depth=20, weights="orthogonal")
    assert numbers["spectrum"]["s_max"] == pytest.approx(spectrum.s_max, rel=1e-9)
    for weights in ("gaussian", "orthogonal"):
        fw = mf.finite_width(point, depth=20, width=200, weights=weights)
        told = numbers["finite_width"][weights]
        assert told["recommended_depth"] == fw.recommended_depth
        std = float(fw.sampled_variance_std[-1] / fw.kernel[-1])
        assert told["std_of_mean_square"] == pytest.approx(std, rel=1e-9)
    assert numbers["activation"]["classes"] == [{"name": "K*=0", "q": 0.0}]
    assert numbers["clip"] is None and numbers["missing"] == {}


def test_numbers_of_a_clipped_one_and_of_none() -> None:
    numbers = mf.report(mf.Activation("shifted_relu", tau=0.7), depth=4).to_dict()["numbers"]
    choice = mf.clip_threshold(mf.Activation("shifted_relu", tau=0.7), q=1.0)
    assert numbers["clip"]["m"] == pytest.approx(choice.m, rel=1e-9)
    assert numbers["clip"]["verdict"] == choice.verdict.name
    assert numbers["clip"]["point"]["weight_var"] == pytest.approx(choice.weight_var, rel=1e-9)
    numbers = mf.report("step", depth=4).to_dict()["numbers"]
    assert numbers["point"] is None and numbers["finite_width"] is None
    assert (
        numbers["activation"]["jumps"] == [0.0] and "no edge of chaos" in numbers["missing"]["edge"]
    )


def test_the_width_for_a_depth(tanh: mf.Report) -> None:
    """At that width the depth is one that is recommended, and not at half of it."""
    for weights, fw in tanh.findings.finite.items():
        point, least = tanh.findings.point, width_needed(fw)
        assert point is not None
        for width, deep in ((least, True), (max(1, least // 2), False)):
            other = mf.finite_width(point, 20, int(width), weights=weights)
            assert (other.recommended_depth >= 20) == deep or least <= 2


def gaussian_bump(x: jax.Array) -> jax.Array:
    return jnp.exp(x**2 / 8)


@pytest.fixture(scope="module")
def bump() -> mf.Report:
    return mf.report(gaussian_bump, depth=2)


def test_what_grows_too_fast(bump: mf.Report, tmp_path: Path) -> None:
    """`exp(x^2/8)`: `bias_var = q - 16/q + 8` is positive above 1.657, and moments end at 2."""
    found = bump.findings
    least = 32**0.5 - 4
    assert found.point is not None and least < float(found.point.q) < 2
    text = " ".join(str(bump).split())
    assert f"q from {least:.4g} to " in text and "ask for a smaller q" not in text
    assert "Nor does it at any other q of this edge of chaos" in text
    assert "none is enough" in text  # E[phi^4] is infinite
    bump.save(tmp_path / "bump.png")


def test_an_overflow_far_out_spoils_no_moment(bump: mf.Report) -> None:
    """At 75 its values overflow, which moments at q = 1 do not see."""
    phi = bump.activation
    for q in (0.5, 1.0, 1.5):
        value = phi.moments(np.array([q])).value[0, 1]
        assert value == pytest.approx((1 - q / 2) ** -0.5, rel=1e-13)
    with pytest.raises(mf.NoCriticalPointError, match=r"There is one for q from 1\.657 to"):
        mf.critical(phi, q=1.0)


def test_no_warning_of_what_grows_too_fast(bump: mf.Report) -> None:
    """Its spread of slopes is infinite wherever there is an edge of chaos."""
    judged = mf.isometry(bump.activation, depth=8)
    assert judged.verdict is mf.IsometryVerdict.NEVER
    assert judged.table and all(row.growth == np.inf for row in judged.table)


def test_correlations_of_what_grows_too_fast() -> None:
    """Known at q = 1.4 to many digits, `1/sqrt((1 - q/4)^2 - (q c/4)^2)`, and refused at 1.65."""
    net = mf.Network(gaussian_bump, weight_var=1.0)
    c = np.array([0.0, 0.5, 0.9])
    expected = ((1 - 0.35) ** 2 - (0.35 * c) ** 2) ** -0.5 / (1 - 0.7) ** -0.5
    np.testing.assert_allclose(mf.correlation_map(net, q=1.4)(c), expected, rtol=1e-10)
    with pytest.raises(mf.UnresolvedError, match="one of a smaller variance may do"):
        mf.correlation_map(net, q=1.65)(0.5)


def test_the_jacobian_panel_shows_what_is_left(tanh: mf.Report) -> None:
    """Not the singular values of 1e-30 and less, which are counted."""
    page = mf.report("gelu", depth=64)
    spectrum = page.findings.spectrum
    assert spectrum is not None and spectrum.quantile(0.2) < 1e-30
    ax = next(ax for ax in page.plot() if ax.get_title().startswith("Jacobian"))
    low, high = ax.get_xlim()
    assert 1e-5 < low / spectrum.s_max < 2e-4 and spectrum.s_max < high < 10 * spectrum.s_max
    shares = [label for label in ax.get_legend_handles_labels()[1] if "below" in label]
    assert shares == [f"below $10^{{-3}}$: {100 * float(spectrum.cdf(1e-3)):.0f} %"]
    for line in ax.lines:
        x = np.asarray(line.get_xdata())
        assert np.all(x >= low) or not len(x)


def test_the_panel_of_widths_shows_what_the_text_says(tanh: mf.Report) -> None:
    ax = tanh.plot()[-1]
    assert ax.get_title() == "std of the mean square, width 200"
    assert values(tanh)["std of the mean square"]
    for line, (weights, fw) in zip(ax.lines, tanh.findings.finite.items(), strict=True):
        assert line.get_label() == weights
        np.testing.assert_array_equal(line.get_ydata(), fw.sampled_variance_std / fw.kernel)


def test_another_variance_is_named_where_one_is_held() -> None:
    """GELU at q = 1 is not stable; the q that is named is, and nearest to 1 of those looked at."""
    page = mf.report("gelu", q=1.0, depth=2)
    text = " ".join(str(page).split())
    elsewhere = page.findings.best_stable
    assert elsewhere is not None and f"take a q that holds, such as {elsewhere:.4g}." in text
    assert mf.critical("gelu", q=elsewhere).stable and 3.56 < elsewhere < 5


def test_kinks_that_count() -> None:
    """What a kink is told to do is what correlations do: one far out changes nothing."""
    advice = {
        name: next(e.advice for s in mf.report(phi, depth=2).sections for e in s.entries
                   if e.name == "kinks")
        for name, phi in {
            "at 0": "relu",
            "none": "identity",
            "far": mf.Activation(lambda x: jnp.where(x < 25, jnp.tanh(x), 1.0 + 0.1 * (x - 25))),
        }.items()
    }  # fmt: skip
    assert "1/depth^2" in advice["at 0"] and "no correlation" in advice["none"]
    assert advice["far"].startswith("Too slight, or too far out")
