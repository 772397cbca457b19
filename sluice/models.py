"""Commands that train: what they are called and take. Torch is imported when one runs."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated

import typer

from sluice.options import LAKE, Conf, Json, Lake, Master, a_day, do, opener

app = typer.Typer(rich_markup_mode=None)


def _need(*libraries: str) -> None:
    from jobs.jars import SetupError

    if missing := [library for library in libraries if find_spec(library) is None]:
        raise SetupError(f"training needs {' and '.join(missing)}, which nothing else here does; install it: make training")


def _check_model(model: str, of_models: Mapping[str, Mapping[str, object]], done: str) -> None:
    """Raises BadParameter where no such model is known, or an option is given that only another one has."""
    if model not in of_models:
        raise typer.BadParameter(f"{model!r} cannot be {done} yet; there is {', '.join(of_models)}", param_hint="MODEL")
    for other, options in of_models.items():
        for option, given in options.items():
            if given is not None and option not in of_models[model]:
                raise typer.BadParameter(f"is of {other}; {model} has no such thing", param_hint=option)


def _check_needs(model: str, which: str | None, days: int | None, test_days: int | None) -> None:
    if model == "query_rewriter" and which is None:
        raise typer.BadParameter("query_rewriter starts from a causal language model: give its folder", param_hint="--model")
    if model != "hhsft" and ((days or 1) > 1 or (test_days or 1) > 1):
        raise typer.BadParameter(f"a day of {model}_examples is a whole training set: one is trained on", param_hint="--days")


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="What to train: hhsft, retriever, query_rewriter.")],
    manifest: Annotated[str | None, typer.Option("--manifest", help="Train on what this manifest pins.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Pin and train on the published days before this one.")] = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="With --until: the last so many. Default: all; but for hhsft: one.")
    ] = None,
    test_days: Annotated[
        int | None, typer.Option("--test-days", min=1, help="Evaluate on so many published days after them, at most. Default: 3.")
    ] = None,
    which: Annotated[
        str | None,
        typer.Option(
            "--model", help="Of hhsft: itself, or a baseline: hhfi, rankmixer, dlrm. Of query_rewriter: folder of a causal language model."
        ),
    ] = None,
    size: Annotated[str | None, typer.Option("--size", help="tiny, base or large. Default: tiny; query_rewriter: base.")] = None,
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="Of hhsft: samples of this step of ES3: exposed, unexposed, attributed, entire_space (default)."),
    ] = None,
    share: Annotated[
        float | None, typer.Option("--share", help="Of retriever: synthetic pairs in each batch, 0 to 0.5. Default: 0.1.")
    ] = None,
    lora: Annotated[int | None, typer.Option("--lora", min=1, help="Of query_rewriter: rank of LoRA. Default: all weights.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int | None, typer.Option("--seed", help="Of weights and of the order of rows. Default: the manifest's.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Folder of checkpoint and report; default: one in ./models named by all this.")
    ] = None,
    truth: Annotated[
        str | None, typer.Option("--truth", help="Simulator: the folder that `sluice ingest simulator --truth` filled.")
    ] = None,
    lake: Lake = LAKE,
    as_json: Json = False,
) -> None:
    """Train a model on pinned days and evaluate it on later ones.

    Stopped, the same command goes on at the very row; finished, it evaluates again.

    \b
    Example: sluice train hhsft --until 2026-01-08
    """
    of_models = {
        "hhsft": {"--model": which, "--stage": stage, "--truth": truth, "--test-days": test_days},
        "retriever": {"--share": share, "--test-days": test_days},
        "query_rewriter": {"--model": which, "--lora": lora},
    }
    _check_model(model, of_models, "trained")
    _check_needs(model, which, days, test_days)
    if (manifest is None) == (until is None):
        raise typer.BadParameter("a table is trained on only when it is pinned: give --manifest NAME, or --until DAY, and not both")
    if days is not None and until is None:
        raise typer.BadParameter("--days needs --until; a manifest has its own days", param_hint="--days")
    before = a_day(until) if until else None

    def work() -> None:
        _need("torch", *(("trl",) if model == "query_rewriter" else ()))
        from sluice import training

        pins = (manifest, before, days)
        if model == "hhsft":
            settings = (which or "hhsft", size or "tiny", stage or "entire_space")
            training.hhsft(lake, pins, test_days, settings, out, seed, device, truth, as_json)
        elif model == "retriever":
            training.retriever(lake, pins, size or "tiny", share, out, seed, device, as_json)
        else:
            training.query_rewriter(lake, pins, str(which), size or "base", lora, out, seed, device, as_json)

    do(work)


@app.command()
def reproduce(
    model: Annotated[str, typer.Argument(help="What to reproduce: hhsft, synthetic_pairs.")],
    quick: Annotated[bool, typer.Option("--quick", help="Less data, one seed, ten minutes: shows that all runs, claims no order.")] = False,
    out: Annotated[str | None, typer.Option("--out", help="Folder of lake and runs; default: ./reproduce-MODEL, -quick, -trivago.")] = None,
    trivago: Annotated[
        str | None, typer.Option("--trivago", help="Of hhsft: folder of trivago's logs: real sessions, the last day held out.")
    ] = None,
    home_depot: Annotated[
        str | None, typer.Option("--home-depot", help="Of synthetic_pairs: folder of Home Depot's graded pairs: real queries.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, max=10, help="Runs of each model. Default: hhsft 5, synthetic_pairs 3; quick 1.")
    ] = None,
    size: Annotated[str, typer.Option("--size", help="tiny, base or large.")] = "tiny",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
    master: Master = None,
    conf: Conf = None,
) -> None:
    """The paper's tables beside ours, from a simulated shop to intervals over seeds.

    Says how long it will take before it trains. Stopped, the same command goes on where it was.

    \b
    Example: sluice reproduce hhsft --quick
    """
    of_models = {"hhsft": {"--trivago": trivago}, "synthetic_pairs": {"--home-depot": home_depot}}
    _check_model(model, of_models, "reproduced")
    if quick and seeds is not None:
        raise typer.BadParameter("--quick makes one run of each", param_hint="--seeds")

    def work() -> None:
        _need("torch")
        from dataclasses import replace

        data = "-trivago" if trivago else "-home-depot" if home_depot else ""
        spark, folder = opener(master, conf), out or f"./reproduce-{model.replace('_', '-')}{'-quick' if quick else ''}{data}"
        if model == "hhsft":
            from sluice import reproduce as show

            if trivago:
                show.trivago(spark, trivago, folder, 1 if quick else seeds or show.FULL.seeds, size, device, as_json)
            else:
                show.hhsft(
                    spark, folder, show.QUICK if quick else replace(show.FULL, seeds=seeds or show.FULL.seeds), size, device, as_json
                )
        elif home_depot:
            from sluice import graded

            graded.home_depot(spark, home_depot, folder, 1 if quick else seeds or 3, size, device, as_json)
        else:
            from sluice import long_tail

            scale = long_tail.QUICK if quick else replace(long_tail.FULL, seeds=seeds or long_tail.FULL.seeds)
            long_tail.synthetic_pairs(spark, folder, scale, size, device, as_json)

    do(work)
