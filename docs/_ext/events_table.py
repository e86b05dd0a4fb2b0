"""The directive ``events-table``: a list of every event of ``sansio.events``, from the classes themselves."""

from __future__ import annotations

from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sansio import events


def form(name: str, arguments: tuple[str, ...]) -> str:
    """A callback's name and arguments."""
    return f"`{name}({', '.join(arguments)})`"


def entries() -> Iterator[str]:
    """The events as a Markdown list of definitions."""
    for row in events.table():
        callbacks = [form(row.name, row.arguments)] if row.name else []
        if row.participant_name:
            callbacks.append(f"{form(row.participant_name, row.participant_arguments)} on the participant")
        yield f"`{row.class_name}({', '.join(row.attributes)})`"
        yield f": {row.when}"
        if row.follows:
            yield f"\n  *Then:* {row.follows}"
        yield f"\n  *Callback:* {'; '.join(callbacks)}\n"


class EventsTable(SphinxDirective):
    """The list, parsed as if it stood in the document."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(entries()))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("events-table", EventsTable)
    return {"parallel_read_safe": True}
