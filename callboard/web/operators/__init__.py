"""/api/v1: what an operator sees and does, as JSON; the functions are those of the commands."""

from callboard.web.operators.router import router

__all__ = ["router"]
