"""Tables as lines, and lines of tables."""

import json
from typing import Any

import pandas as pd

from icmbench.show import markup

Line = dict[str, Any]


def where(table: pd.DataFrame, **values: str | int) -> pd.DataFrame:
    """The lines of a table with these values, by column."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def asdicts(table: pd.DataFrame) -> list[Line]:
    """The lines of a table, with None where there is no value."""
    names = list(map(str, table))
    return [dict(zip(names, line, strict=True)) for line in _values(table)]


def as_csv(table: pd.DataFrame) -> str:
    """The lines of a table as CSV."""
    return markup.to_csv(list(table.columns), _values(table))


def as_json(content: Any) -> str:
    """What no column of a table can hold, in one."""
    return json.dumps(content, ensure_ascii=False)


def _values(table: pd.DataFrame) -> list[list[Any]]:
    return table.astype(object).where(table.notna(), None).to_numpy().tolist()
