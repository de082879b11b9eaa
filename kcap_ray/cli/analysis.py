"""The verbs of the analysis, as `kcap` has them: the same as `python -m analysis VERB`.

Nothing of the analysis is imported before one of them is called: it loads pandas, and planning
starts without.
"""

import contextlib
from collections.abc import Sequence

import typer

from kcap_ray.cli.places import named_by_url, not_taken
from kcap_ray.runs.opening import opened
from kcap_ray.runs.store import url_of

VERBS = {
    "fit": "Fit the capacity law to finished runs: bits per parameter, with intervals.",
    "plot": "Draw one figure of finished runs.",
    "table": "Print one of the report's tables of finished runs.",
    "claims": "Judge the claims of arXiv 2404.05405 by finished runs.",
    "compare": "Compare two runs, cell by cell, paired by seed.",
    "ranks": "Whether runs rank architectures alike, by R over that of gpt2 in each.",
    "power": "Seeds needed to see a difference, from how much seeds scatter in finished runs.",
    "predict": "Predict R of a model that was not run, from the joint law of finished runs.",
}
"""Name and what the list of verbs says; their options are the analysis' own."""

FLAGS = ("--published",)
"""Options without a value."""


def add_verbs(app: typer.Typer) -> None:
    """Add all of them to the verbs of `kcap`."""
    for name, text in VERBS.items():
        _add(app, name, text)


def _add(app: typer.Typer, name: str, text: str) -> None:
    settings = {
        "allow_extra_args": True,
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
    }

    @app.command(name, help=text, add_help_option=False, context_settings=settings)
    def verb(ctx: typer.Context) -> None:
        from analysis.__main__ import app as analysis

        with contextlib.ExitStack() as stack, named_by_url():
            analysis([name, *_local(name, ctx.args, stack)], prog_name="kcap")


def _local(verb: str, arguments: Sequence[str], stack: contextlib.ExitStack) -> list[str]:
    """The arguments with runs that are kept in a store opened here; UserError for a file there."""
    found: list[str] = []
    for before, one in zip(("", *arguments), arguments, strict=False):
        option, equals, value = one.partition("=") if one.startswith("--") else (before, "", one)
        url = url_of(value) if equals or not one.startswith("--") else None
        if url is not None and option.startswith("--") and option not in FLAGS:
            raise not_taken(f"{verb} {option}", url)
        found.append(one if url is None else str(stack.enter_context(opened(one))))
    return found
