"""In what order commands are listed, and an example of each: as somebody uses them, from the first look to the end."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

EXAMPLES = {
    "sandbox up": 'eval "$(tranship sandbox up)"',
    "init": "tranship init --database blog -o blog.yaml",
    "plan schema": "tranship plan schema > plan.schema.json",
    "plan show": "tranship plan show blog.yaml",
    "schema ddl": "tranship schema ddl blog.yaml > blog.sql",
    "check": "tranship check blog.yaml",
    "dry-run": "tranship dry-run blog.yaml",
    "run": "tranship run blog.yaml",
    "status": "tranship status blog.yaml",
    "quarantine list": "tranship quarantine list blog.yaml --stream posts",
    "quarantine show": "tranship quarantine show blog.yaml posts 65f0c0ffee0000000000abcd",
    "quarantine export": "tranship quarantine export blog.yaml --to quarantine.jsonl",
    "quarantine retry": "tranship quarantine retry blog.yaml --stream posts",
    "reconcile": "tranship reconcile blog.yaml",
    "schema diff": "tranship schema diff blog.yaml",
    "repair": "tranship repair blog.yaml",
    "approve": "tranship approve blog.yaml cutover",
    "cutover": "tranship cutover --rehearse blog.yaml",
    "unfence": "tranship unfence --database blog",
    "pause": "tranship pause blog.yaml",
    "resume": "tranship resume blog.yaml",
    "reseed": "tranship reseed blog.yaml",
    "rollback": "tranship rollback blog.yaml",
    "history": "tranship history blog.yaml",
    "runs": "tranship runs --target env:TARGET_URI",
    "explain": "tranship explain target.privilege",
    "purge": "tranship purge blog.yaml",
    "sandbox status": "tranship sandbox status",
    "sandbox down": "tranship sandbox down --purge",
    "demo": "tranship demo --short",
}
"""Each command with what somebody types, in the order of use; a group stands where its first command does."""


class InOrder(TyperGroup):
    """A group that lists its commands in the order of `EXAMPLES`, each with its example below its help."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  typer's own Context is not public
        """The names; one without an example, which a test refuses, comes last."""
        order = list(EXAMPLES)
        places = {name: [order.index(one) for one in order if self._is(one, name)] for name in self.commands}
        return sorted(self.commands, key=lambda name: places[name] or [len(order)])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, with its example."""
        command = super().get_command(ctx, cmd_name)
        example = next((one for name, one in EXAMPLES.items() if self._is(name, cmd_name)), None)
        if command is not None and example is not None and not isinstance(command, TyperGroup):
            command.epilog = f"Example: `{example}`"
        return command

    def _is(self, whole: str, name: str) -> bool:
        """Whether a full name is that of the group's command, or is below it."""
        above = f"{self.name} {name}" if any(one.startswith(f"{self.name} ") for one in EXAMPLES) else name
        return whole == above or whole.startswith(f"{above} ")
