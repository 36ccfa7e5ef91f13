"""Opaque strings that look like the API's, the same for the same ingredients.

Knows hashing. Must not know what the strings are for.
"""

from base64 import urlsafe_b64encode
from hashlib import shake_256


def token(*ingredients: object, length: int) -> str:
    """Letters and digits made from the ingredients."""
    digest = shake_256(repr(ingredients).encode("utf-8", "surrogatepass")).digest(length)
    return urlsafe_b64encode(digest).decode().replace("-", "A").replace("_", "B").rstrip("=")[:length]
