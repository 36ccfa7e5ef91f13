"""Refusals: a status, a type and a text, in the shape the API gives them.

Knows the API's error types. Must not know why something was refused; the rules do.
"""

from collections.abc import Mapping
from typing import Any, Final

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.headers = headers or {}
        self.details = details

    @property
    def type(self) -> str:
        return TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")  # noqa: PLR2004 - the server's own errors

    def body(self, request_id: str) -> dict[str, Any]:
        error = {"type": self.type, "message": self.message}
        details = {"details": self.details} if self.details else {}
        return {"type": "error", "error": {**error, **details}, "request_id": request_id}
