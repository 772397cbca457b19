"""The example of training/README.md runs as it is written, and what it says of resuming is so."""

import re
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from tests.training.examples import publish_examples
from training.manifest import create

README = (Path(__file__).parents[2] / "training" / "README.md").read_text(encoding="utf-8")


def test_the_example_of_the_loader_trains(tmp_path, monkeypatch):
    days = publish_examples(tmp_path / "lake", 2, 300)
    create(tmp_path / "lake", "base", "hhsft_examples", (days[0], days[1]))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    found: dict = {}
    exec(example, found)
    loader, table = found["loader"], found["table"]
    assert loader.num_steps == 3 and found["stepper"].state[table.weight]["step"] == 6
    resumed = DataLoader(loader.at(1, 2), batch_size=None, num_workers=1)  # as the page says below the example
    assert [batch["items.item_hash"].tolist() for batch in resumed] == [found["item"].tolist()]
    assert torch.equal(found["batch"]["items.y_click"], found["click"]) and len(found["click"]) == 4 * (600 - 2 * 256)
