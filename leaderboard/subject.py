"""What a page is about, in the app and on the static site: a protocol, the anchor, and what every page needs of them."""

from functools import cached_property
from typing import Any

from icmbench.leaderboard import views
from icmbench.leaderboard.derived import Tables
from icmbench.leaderboard.views import Choice

FIRST_SHOWN = 5  # methods that a figure shows before anybody chose


class Subject:
    """A protocol and an anchor in the tables that are shown."""

    tables: Tables
    choice: Choice

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The protocol's line."""
        return views.about(self.tables, self.choice.protocol)

    @cached_property
    def methods(self) -> list[str]:
        """The methods in the order of the ranking."""
        return views.method_names(self.tables, self.choice)
