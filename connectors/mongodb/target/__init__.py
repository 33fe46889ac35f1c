"""A MongoDB database as a target that keeps its own marks: what a reverse feed writes into (`rules.md` J13)."""

from tranship.connectors.mongodb.target.marked import Handover, MongoMarkedTarget

__all__ = ["Handover", "MongoMarkedTarget"]
