"""Draw the life of a transaction into docs/architecture.md, or check that the drawing is current."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from transactions.states import draw_states

BEGIN, END = "<!-- states: begin -->", "<!-- states: end -->"


class Command(BaseCommand):
    help = "Draw the table of moves into docs/architecture.md (--check: fail if the drawing is not current)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(settings.BASE_DIR) / "docs" / "architecture.md"
        text = path.read_text()
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        drawn = f"{before}{BEGIN}\n```mermaid\n{draw_states()}\n```\n{END}{after}"
        if drawn == text:
            return
        if options["check"]:
            raise CommandError("docs/architecture.md shows an old state diagram: run manage.py draw_states.")
        path.write_text(drawn)
