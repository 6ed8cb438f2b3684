"""Keeps processors from fetching: what a caller names by its address has been fetched and checked before."""

from typing import Any

from shared.errors import CallerError


def refuse_fetches(processor: Any) -> None:
    """Let the processor's `fetch_images` take pictures only.

    Of the texts that they are given, some processors hold an address for a picture's, and others a path for a
    file's (transformers 5.23, IdeficsProcessor), past all checks of strangers' addresses (SECURITY.md).
    """
    pictures: Any = getattr(processor, "image_processor", None)
    kind: Any = type(pictures)
    if not hasattr(kind, "fetch_images"):
        return

    def fetch_images(self: Any, images: Any) -> Any:
        if isinstance(images, str):
            raise CallerError(
                "invalid_request",
                "This model's processor takes a prompt that begins with an address and has no space for a "
                "picture's address. Send the picture as a part of its own, or write a space and a word.",
                param="messages",
            )
        return kind.fetch_images(self, images)

    # An attribute of its own would be written into its JSON.
    pictures.__class__ = type(kind.__name__, (kind,), {"fetch_images": fetch_images})
