"""The directive ``events-table``: every event of ``sansio.events``, from the classes themselves."""

from __future__ import annotations

from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sansio import events

HEADER = "| event | callback on the room | callback on the participant | when | what follows |\n|---|---|---|---|---|"


def form(name: str, arguments: tuple[str, ...]) -> str:
    """A callback's name and arguments, or nothing where there is no such form."""
    return f"`{name}({', '.join(arguments)})`" if name else ""


def rows() -> Iterator[str]:
    """The table in Markdown."""
    yield HEADER
    for row in events.table():
        cells = [
            f"`{row.class_name}({', '.join(row.attributes)})`",
            form(row.name, row.arguments),
            form(row.participant_name, row.participant_arguments),
            row.when,
            row.follows,
        ]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


class EventsTable(SphinxDirective):
    """The table, parsed as if it stood in the document."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(rows()))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("events-table", EventsTable)
    return {"parallel_read_safe": True}
