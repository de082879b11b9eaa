"""The verbs of the analysis, as `kcap` has them: the same as `python -m analysis VERB`.

Nothing of the analysis is imported before one of them is called: it loads pandas, and planning
starts without.
"""

import typer

VERBS = {
    "fit": "Fit the capacity law to finished runs: bits per parameter, with intervals.",
    "plot": "Draw one figure of finished runs.",
    "table": "Print one of the report's tables of finished runs.",
    "claims": "Judge the claims of arXiv 2404.05405 by finished runs.",
    "compare": "Compare two runs, cell by cell, paired by seed.",
    "power": "Seeds needed to see a difference, from how much seeds scatter in finished runs.",
    "predict": "Predict R of a model that was not run, from the joint law of finished runs.",
}
"""Name and what the list of verbs says; their options are the analysis' own."""


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

        analysis([name, *ctx.args], prog_name="kcap")
