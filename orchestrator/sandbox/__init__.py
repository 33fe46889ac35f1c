"""A MongoDB and a PostgreSQL to try tranship with: embedded, in containers, or the servers named in the environment.

`with sandbox(folder) as servers:` gives servers that end with the block; `up`, `down` and `status` of
`orchestrator.sandbox.persistent` give servers that outlive the command (`tranship sandbox`).
"""

from tranship.orchestrator.sandbox.servers import Kind, SandboxError, ServerMissingError, Servers, sandbox

__all__ = ["Kind", "SandboxError", "ServerMissingError", "Servers", "sandbox"]
