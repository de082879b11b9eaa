"""The figures by name, and how they are saved."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.architectures import compare_architectures
from analysis.bands import find_bands
from analysis.exposure_fit import ExposureFit, fit_exposures
from analysis.figures.architectures import draw_architectures
from analysis.figures.bands import draw_bands
from analysis.figures.bit_width import draw_bit_width
from analysis.figures.calibration import draw_calibration
from analysis.figures.capacity import draw_capacity
from analysis.figures.experts import draw_experts
from analysis.figures.growth import draw_growth
from analysis.figures.junk import draw_junk
from analysis.figures.ladder import draw_ladder
from analysis.figures.landscape import draw_landscape
from analysis.figures.parts import draw_parts
from analysis.figures.process import draw_training, draw_tuning
from analysis.figures.quantization import draw_quantization
from analysis.figures.ratio import draw_exposures, draw_ratio
from analysis.figures.residuals import draw_residuals
from analysis.figures.sites import draw_layers, draw_sites
from analysis.figures.style import NothingToDrawError, figure_style
from analysis.figures.symbols import set_own_symbols
from analysis.fit import CapacityFit, fit_groups
from analysis.junk import compare_junk
from analysis.ladder import find_ladders
from analysis.load import Results, ResultsError, load_histories, load_trials
from analysis.quantizers import find_quantized
from analysis.sites import find_layers, find_sites
from kcap_ray.runs.files import check_local, send

FORMATS = ("pdf", "svg", "png")
# Without dates the same results give the same bytes.
METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {},
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a figure may draw."""

    results: Results
    fits: tuple[CapacityFit, ...]
    exposure_fits: tuple[ExposureFit, ...]

    @cached_property
    def trials(self) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """All tuning trials, and notes on what could not be read."""
        return load_trials(self.results)


@dataclass(frozen=True, kw_only=True)
class FigureKind:
    """One figure of the report."""

    caption: str
    draw: Callable[[Inputs], Figure]


def _capacity(inputs: Inputs) -> Figure:
    return draw_capacity(_as_trained(inputs), inputs.fits, inputs.results.excluded)


def _ratio(inputs: Inputs) -> Figure:
    return draw_ratio(_as_trained(inputs), inputs.fits, inputs.results.excluded)


def _exposures(inputs: Inputs) -> Figure:
    excluded = inputs.results.excluded
    return draw_exposures(_as_trained(inputs), inputs.fits, inputs.exposure_fits, excluded)


def _as_trained(inputs: Inputs) -> pd.DataFrame:
    """The rows without those of quantized weights, which have figures of their own."""
    used = inputs.results.used
    return used[used["quantization"] == "none"]


def _architectures(inputs: Inputs) -> Figure:
    return draw_architectures(compare_architectures(inputs.results.used))


def _ladder(inputs: Inputs) -> Figure:
    return draw_ladder(find_ladders(inputs.results.used))


def _moe(inputs: Inputs) -> Figure:
    return draw_experts(inputs.results.used)


def _junk(inputs: Inputs) -> Figure:
    return draw_junk(compare_junk(inputs.results.used))


def _bands(inputs: Inputs) -> Figure:
    return draw_bands(*find_bands(inputs.results.used))


def _sites(inputs: Inputs) -> Figure:
    return draw_sites(find_sites(inputs.results.used))


def _layers(inputs: Inputs) -> Figure:
    return draw_layers(find_layers(inputs.results.used))


def _parts(inputs: Inputs) -> Figure:
    return draw_parts(inputs.results.used)


def _quantization(inputs: Inputs) -> Figure:
    return draw_quantization(find_quantized(inputs.results.used))


def _bit_width(inputs: Inputs) -> Figure:
    return draw_bit_width(find_quantized(inputs.results.used))


def _calibration(inputs: Inputs) -> Figure:
    return draw_calibration(find_quantized(inputs.results.used))


def _residuals(inputs: Inputs) -> Figure:
    return draw_residuals(_as_trained(inputs))


def _tuning(inputs: Inputs) -> Figure:
    return draw_tuning(*inputs.trials)


def _landscape(inputs: Inputs) -> Figure:
    trials, notes = inputs.trials
    return draw_landscape(trials, inputs.results.used, notes)


def _growth(inputs: Inputs) -> Figure:
    return draw_growth(*load_histories(inputs.results))


def _training(inputs: Inputs) -> Figure:
    return draw_training(*load_histories(inputs.results))


FIGURES = {
    "capacity": FigureKind(
        caption="Stored bits against parameters; diagonals have constant bits per parameter.",
        draw=_capacity,
    ),
    "ratio": FigureKind(
        caption="Bits stored per parameter (R) against bits demanded per parameter (R_max).",
        draw=_ratio,
    ),
    "exposures": FigureKind(
        caption="Largest R over the models of each data set, against exposures.",
        draw=_exposures,
    ),
    "residuals": FigureKind(
        caption="What one law of R_max, people, parameters, exposures and family leaves.",
        draw=_residuals,
    ),
    "architectures": FigureKind(
        caption="Capacity of each architecture relative to GPT-2, paired by seed.",
        draw=_architectures,
    ),
    "ladder": FigureKind(
        caption="R at each step from LLaMA to GPT-2.",
        draw=_ladder,
    ),
    "moe": FigureKind(
        caption="Mixture of experts against dense models, by all and by active parameters.",
        draw=_moe,
    ),
    "junk": FigureKind(
        caption="Capacity for useful people when most of training is about others.",
        draw=_junk,
    ),
    "bands": FigureKind(
        caption="Share of the demand that is stored, against how often people appear.",
        draw=_bands,
    ),
    "sites": FigureKind(
        caption="Share of the demand that is stored, by attribute.",
        draw=_sites,
    ),
    "layers": FigureKind(
        caption="R with one layer left out.",
        draw=_layers,
    ),
    "parts": FigureKind(
        caption="R of bioD in its parts: names, values and diversity sets.",
        draw=_parts,
    ),
    "quantization": FigureKind(
        caption="Stored bits against parameters: as trained, and after GPTQ at 8 and 4 bits.",
        draw=_quantization,
    ),
    "bit_width": FigureKind(
        caption="R, and knowledge per stored bit, by bits of a quantized weight and method.",
        draw=_bit_width,
    ),
    "calibration": FigureKind(
        caption="R after GPTQ over R before, against the people of the calibration text.",
        draw=_calibration,
    ),
    "tuning": FigureKind(
        caption="Bits stored per parameter against learning rate, for every tuning trial.",
        draw=_tuning,
    ),
    "landscape": FigureKind(
        caption="R of every trial, over learning rate and weight decay; stars: what was chosen.",
        draw=_landscape,
    ),
    "growth": FigureKind(
        caption="Bits stored per parameter while training, against exposures seen.",
        draw=_growth,
    ),
    "training": FigureKind(caption="Training loss against exposures seen.", draw=_training),
}


def fit_inputs(results: Results) -> Inputs:
    """Results with every fit that the figures show."""
    fits = fit_groups(results.used)
    return Inputs(results=results, fits=tuple(fits), exposure_fits=tuple(fit_exposures(fits)))


def check_request(name: str, path: Path) -> None:
    """Whether there is a figure of this name, and the file's ending is a format we write.

    Raises ResultsError, before any time is spent on fitting.
    """
    if name not in FIGURES:
        raise ResultsError(f"no figure {name!r}; there are: {', '.join(FIGURES)}")
    if path.suffix.removeprefix(".").lower() not in FORMATS:
        raise ResultsError(f"{path}: figures must end in .pdf, .svg or .png")


def draw(name: str, inputs: Inputs) -> Figure:
    """The figure of this name; laid out, and ready for `save`.

    Raises NothingToDrawError where the data for it are missing.
    """
    with figure_style():
        figure = FIGURES[name].draw(inputs)
        set_own_symbols(figure)
        engine = figure.get_layout_engine()
        assert engine is not None, "figures are laid out by constrained layout"
        engine.execute(figure)
        figure.set_layout_engine("none")  # laid out once, not again for every format
        return figure


def save(figure: Figure, path: Path) -> Path:
    """Write the figure in the format that the file's ending names; makes the folder."""
    ending = path.suffix.removeprefix(".").lower()
    check_local(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with figure_style():
        figure.savefig(path, format=ending, metadata=METADATA[ending])
    send(path)
    return path


def write_figures(inputs: Inputs, folder: Path) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """All figures that the data support, in every format; and why the others are not drawn."""
    written: dict[str, list[Path]] = {}
    missing: dict[str, str] = {}
    for name in FIGURES:
        try:
            figure = draw(name, inputs)
        except NothingToDrawError as error:
            missing[name] = str(error)
            continue
        written[name] = [save(figure, folder / f"{name}.{ending}") for ending in FORMATS]
    return written, missing
