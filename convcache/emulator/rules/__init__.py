"""What the API refuses: each module one kind of rule, run in the order in which the API looks.

Knows the order. Must not know the cache: a refused request writes and refreshes nothing.
"""

from typing import Final

from convcache.emulator.accepted import Accepted
from convcache.emulator.caller import Caller
from convcache.emulator.catalog import Model, find_model
from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, laid_out
from convcache.emulator.marks import automatic_mark, explicit_marks
from convcache.emulator.rules import (
    context_management,
    marks,
    prewarm,
    refused_by_model,
    shape,
    system_messages,
    tools,
)
from convcache.emulator.settings import Settings

_DEFAULT: Final = Settings()
_ANYONE: Final = Caller(platform="claude")


def accepted(
    body: object, *, counting: bool = False, settings: Settings = _DEFAULT, caller: Caller = _ANYONE
) -> Accepted:
    """A request that may be answered.

    Args:
        body: The parsed JSON.
        counting: Whether only its tokens are asked for, which needs no `max_tokens`.
        settings: What is chosen where the documents leave it open.
        caller: Who asks, and in which version of the API.

    Raises:
        ApiError: The refusal, with the API's status and text.
    """
    request, extras = shape.checked(body, counting=counting)
    model = _model(request)
    pieces = laid_out(request)
    explicit, automatic = explicit_marks(pieces), automatic_mark(request, pieces)
    marks.check(request, pieces, explicit, automatic, settings)
    shape.check_extras(extras)
    shape.check_texts(request, pieces)
    tools.check(request)
    system_messages.check(request, pieces, model)
    refused_by_model.check(request, pieces, model, caller.version)
    context_management.check(request, pieces)
    prewarm.check(request)
    return Accepted(request, model, tuple(pieces), tuple(explicit), automatic)


def _model(body: Body) -> Model:
    model = find_model(body["model"])
    if model is None:
        raise ApiError(f"model: {body['model']}", status=404)
    return model
