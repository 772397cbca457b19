"""Contract of `items`: the catalogue, one snapshot a day."""

from schemas.contract import Column, Contract

STATUSES = ("on_shelf", "off_shelf")

CONTRACT = Contract(
    name="items",
    grain=("item_id",),
    owner="catalogue",
    keep_days=400,
    version=1,
    doc="One row per item and daily snapshot.",
    columns=(
        Column("day", "date", "Day of the snapshot, UTC; the partition."),
        Column("item_id", "string", "Key of the item."),
        Column("title", "string", "Title shown to users.", nullable=True),
        Column("category_path", "array<string>", "Categories from root to leaf.", nullable=True),
        Column("brand", "string", "Brand.", nullable=True),
        Column("shop_id", "string", "Seller.", nullable=True),
        Column("price_cents", "bigint", "Price, cents.", nullable=True),
        Column("status", "string", "on_shelf or off_shelf."),
        Column("attributes", "map<string,string>", "Further properties, as given.", nullable=True),
        Column("valid_at", "timestamp", "When the row became true, UTC."),
        Column("available_at", "timestamp", "When the platform could first have read the row, UTC."),
    ),
)
