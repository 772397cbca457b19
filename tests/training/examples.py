"""A lake of hhsft_examples, published without Spark: random features, clicks that follow from two of them."""

import random
from datetime import UTC, date, datetime, time, timedelta

from schemas.features import Feature
from schemas.hhsft_examples import CONTRACT, ITEM_FEATURES, REQUEST_FEATURES
from tests.jobs.published import publish_day

FIRST = date(2026, 1, 1)


def value(feature: Feature, draw: random.Random, length: int) -> object:
    if feature.kind in ("tokens", "sequence"):
        return [draw.randrange(1, min(feature.size, 50)) for _ in range(length)]
    return draw.randrange(1, min(feature.size, 50))


def sample(draw: random.Random, number: int, activity: int) -> dict[str, object]:
    """An item that is clicked nine times of ten where its category is at most twice the activity of the user, else once."""
    made = {f.name: value(f, draw, draw.randrange(4)) for f in ITEM_FEATURES} | {
        "item_id": f"i{number}",
        "item_category": draw.randrange(1, 9),
    }
    click = int(draw.random() < (0.9 if made["item_category"] <= 2 * activity else 0.1))
    labels = {"y_click": click, "y_pay": int(click and draw.random() < 0.2), "y_click_native": click, "weight": 1.0}
    provenance = {"sample_type": "exposed", "is_exposed": number % 3 != 2, "position": number, "p_inclusion": 1.0, "label_source": None}
    return made | labels | provenance


def request(draw: random.Random, day: date, number: int, num_items: int) -> dict[str, object]:
    length, activity = draw.randrange(6), draw.randrange(1, 5)
    made = {f.name: value(f, draw, length) for f in REQUEST_FEATURES} | {"domain_id": 1 + number % 3, "user_activity": activity}
    made |= {"request_id": f"{day}-{number}", "user_id": f"u{draw.randrange(20)}", "requested_at": datetime.combine(day, time(12), UTC)}
    made |= {"is_pseudo": made["domain_id"] != 1, "query_source": "native", "user_bucket": draw.randrange(100)}
    return made | {"items": [sample(draw, n, activity) for n in range(num_items)]}


def publish_examples(lake: object, num_days: int, requests: int, *, num_items: int = 4, first: date = FIRST, seed: int = 1) -> list[date]:
    """Publish consecutive days of so many requests each; a third each of search, rec and shop."""
    days = [first + timedelta(days=n) for n in range(num_days)]
    for day in days:
        draw = random.Random(f"{seed} {day}")
        rows = [request(draw, day, n, num_items) for n in range(requests)]
        publish_day(lake, CONTRACT, day, rows, label_as_of=str(day + timedelta(days=8)))
    return days
