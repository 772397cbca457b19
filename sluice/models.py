"""Commands that train: what they are called and take. Torch is imported when one runs."""

from importlib.util import find_spec
from typing import Annotated

import typer

from sluice.options import LAKE, Conf, Json, Lake, Master, a_day, do, opener

app = typer.Typer(rich_markup_mode=None)


def _need_torch() -> None:
    from jobs.jars import SetupError

    if find_spec("torch") is None:
        raise SetupError("training needs torch, which nothing else here does; install it: make training")


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="What to train: hhsft.")],
    manifest: Annotated[str | None, typer.Option("--manifest", help="Train on what this manifest pins.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Pin and train on the published days before this one.")] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, help="With --until: the last so many of them. Default: all.")] = None,
    test_days: Annotated[int, typer.Option("--test-days", min=1, help="Evaluate on so many published days after them, at most.")] = 3,
    which: Annotated[str, typer.Option("--model", help="hhsft, or a baseline on the same tokens: hhfi, rankmixer, dlrm.")] = "hhsft",
    size: Annotated[str, typer.Option("--size", help="tiny, base or large.")] = "tiny",
    stage: Annotated[
        str, typer.Option("--stage", help="Samples of this step of ES3: exposed, unexposed, attributed, entire_space.")
    ] = "entire_space",
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
    if model != "hhsft":
        raise typer.BadParameter(f"{model!r} cannot be trained yet; there is hhsft", param_hint="MODEL")
    if (manifest is None) == (until is None):
        raise typer.BadParameter("a table is trained on only when it is pinned: give --manifest NAME, or --until DAY, and not both")
    if days is not None and until is None:
        raise typer.BadParameter("--days needs --until; a manifest has its own days", param_hint="--days")
    before = a_day(until) if until else None

    def work() -> None:
        _need_torch()
        from sluice import training

        training.train(lake, manifest, before, days, test_days, (which, size, stage), out, seed, device, truth, as_json)

    do(work)


@app.command()
def reproduce(
    model: Annotated[str, typer.Argument(help="What to reproduce: hhsft.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Four models, one seed, ten minutes: shows that all runs, claims no order.")
    ] = False,
    out: Annotated[str | None, typer.Option("--out", help="Folder of lake and runs; default: ./reproduce-MODEL, -quick, -trivago.")] = None,
    trivago: Annotated[
        str | None, typer.Option("--trivago", help="Folder of trivago's logs: real sessions, the last day held out.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10, help="Runs of each model.")] = 5,
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
    if model != "hhsft":
        raise typer.BadParameter(f"{model!r} cannot be reproduced yet; there is hhsft", param_hint="MODEL")

    def work() -> None:
        _need_torch()
        from dataclasses import replace

        from sluice import reproduce as show

        spark, folder = opener(master, conf), out or f"./reproduce-{model}{'-quick' if quick else ''}{'-trivago' if trivago else ''}"
        if trivago:
            show.trivago(spark, trivago, folder, 1 if quick else seeds, size, device, as_json)
        else:
            show.hhsft(spark, folder, show.QUICK if quick else replace(show.FULL, seeds=seeds), size, device, as_json)

    do(work)
