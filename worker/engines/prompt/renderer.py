"""Turns requests into model inputs, for every model that transformers' processors know.

Callers' text stays text: a special token in it would forge a turn of the conversation or claim a picture that
is not there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from shared.errors import CallerError
from shared.request import Image, Media, Request, Sound, Video
from shared.result import SeenPicture
from shared.tool_calls.numbering import check_calls
from shared.variables import Value
from worker.engines.base import Images, Prompt, Sounds, Videos, seen
from worker.engines.loading.torch_errors import UNFIT
from worker.engines.prompt.budget import too_long
from worker.engines.prompt.chat_format import Chat, Shown, trimmed
from worker.engines.prompt.chat_template import ChatTemplate
from worker.engines.prompt.media_input import SoundInput, VideoInput, pixels_of
from worker.engines.prompt.picture_tokens import seen_sizes
from worker.engines.prompt.template_errors import refused_by_template

# Settings from training, to which examples were cut or padded. Processors pass them from these files to the
# tokenizer and, for sounds, to the feature extractor (transformers 5.23, ProcessorMixin._merge_kwargs).
OF_TRAINING = ("max_length", "truncation", "padding", "pad_to_multiple_of")


def keep_whole(tokenizer: Any) -> None:
    """Turn off cutting and padding, also in its processor. Call it before several threads use it."""
    for name in OF_TRAINING:
        tokenizer.init_kwargs.pop(name, None)
    # The first call undoes what tokenizer.json sets, which would disturb calls in other threads.
    tokenizer("x")


PLACEHOLDERS = ("image", "video", "audio")
# Writes what was rendered before, for transformers' way from a chat to tensors.
RENDERED = "{{ messages[0].rendered }}"


class Renderer:
    """Builds prompts for one model; safe to use from several threads."""

    def __init__(
        self,
        processor: Any,
        config: Any,
        context_length: int,
        defaults: Mapping[str, Value] | None = None,
        reasoning: Sequence[str] | None = None,
    ) -> None:
        """`defaults` are variables of the chat template, where a caller sets none; `reasoning` are the
        marks of thoughts that the model's entry names.
        """
        self._processor = processor
        self.context_length = context_length
        self._tokenizer = processor.tokenizer
        keep_whole(self._tokenizer)
        self.placeholder_ids = frozenset(_placeholder_ids(processor, config))
        self.template = ChatTemplate(processor, self.placeholder_ids, defaults, reasoning)
        self._reserved = self.template.reserved
        of_config: int | None = getattr(config, "image_token_id", None)
        self.image_id = of_config or getattr(processor, "image_token_id", None)
        self.sound_input = SoundInput(processor, config)
        self.video_input = VideoInput(processor, config)
        self.video_input.try_out(lambda asked, videos: self.prompt(asked, (), (), videos).image_tokens)

    def prompt(self, request: Request, pictures: Images, sounds: Sounds = (), videos: Videos = ()) -> Prompt:
        """Raises CallerError as `worker.engines.base.Engine.prepare` says."""
        self.sound_input.check(sounds)
        self.video_input.check(request)
        media = _media(request, pictures, sounds, videos)
        inputs, lost = self._chat(request, media, self.video_input.arguments(videos))
        # Training labels, which some processors always add, would have the network compute a loss.
        inputs.pop("labels", None)
        ids = inputs["input_ids"]
        if ids.shape[-1] == 0:
            raise _refused("The prompt is empty.")
        images = sum(int((ids == id_).sum()) for id_ in {self.image_id, self.video_input.id} - {None})
        sound_tokens = int((ids == self.sound_input.id).sum()) if sounds else 0
        syntax, open_ = self.template.syntax_of(request), request.ends_open
        told = () if videos or not pictures else self._seen(inputs, pictures, images)
        return Prompt(
            int(ids.shape[-1]), images, inputs, syntax, sound_tokens, open_, lost, len(pictures), told
        )

    def _seen(self, inputs: Any, pictures: Images, tokens: int) -> tuple[SeenPicture, ...]:
        sizes = seen_sizes(self._processor, inputs, pictures)
        counts = self.picture_token_counts(inputs, len(pictures)) if len(pictures) > 1 else [tokens]
        if sum(counts) != tokens:
            counts = [tokens // len(pictures)] * len(pictures) if len(set(sizes)) == 1 else []
        return seen(pictures, sizes, counts)

    def picture_token_counts(self, inputs: Any, pictures: int) -> list[int]:
        """The placeholders of each picture of a prompt with these inputs; empty if not told."""
        try:
            texts = [self._processor.replace_image_token(inputs, image_idx=at) for at in range(pictures)]
            return [text.count(self._processor.image_token) for text in texts]
        except UNFIT:
            return []

    def picture_pieces(self, sizes: Sequence[tuple[int, int]]) -> list[int]:
        """The patches or tiles that pictures of these widths and heights become; 1 each if not told."""
        try:
            count = self._processor.image_processor.get_number_of_image_patches
            counts = [count(high, wide, {}) for wide, high in sizes]
        except UNFIT:
            return [1] * len(sizes)
        # Some tell rows and columns, too.
        return [each[0] if isinstance(each, tuple) else each for each in counts]

    def ids(self, request: Request, pictures: Images) -> tuple[list[int], str]:
        """Tokens with one mark per picture, for engines that insert pictures themselves; and `trimmed`.

        Raises CallerError `invalid_request`, `unsupported_parameter`.
        """
        conversation, text = self._conversation(request, _media(request, pictures))
        # A template may write the BOS token itself.
        has_bos = self._tokenizer.bos_token is not None and text.startswith(self._tokenizer.bos_token)
        ids: list[int] = self._tokenizer(text, add_special_tokens=not has_bos)["input_ids"]
        if not ids:
            raise _refused("The prompt is empty.")
        return ids, conversation.trimmed

    def _chat(self, request: Request, media: Sequence[Shown], arguments: dict[str, Any]) -> tuple[Any, str]:
        """`arguments` are the processor's. The text is read by itself, before anything larger is touched."""
        conversation, text = self._conversation(request, media)
        options = {"processor_kwargs": arguments} if arguments else {}
        first, *others = conversation.turns
        with refused_by_template(request):
            inputs = self._processor.apply_chat_template(
                [[{**first, "rendered": text}, *others]],
                chat_template=RENDERED,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                **options,
            )
        return inputs, conversation.trimmed

    def _conversation(self, request: Request, media: Sequence[Shown]) -> tuple[Chat, str]:
        """The chat and its text.

        Raises CallerError if the template refuses it, it cannot fit, or forges a special token.
        """
        check_calls(request, self.template.syntax)
        conversation = self.template.chat(request, media)
        text = self.template.render(request, conversation)
        # A template may join two innocent parts into one special token.
        if self._reserved.count(self._fitting(self._ids(text))) > self._due_in(request, media):
            raise _refused("Texts of this request form a special token of the model.")
        lost = trimmed(request.messages[-1], text) if request.ends_open else ""
        return conversation._replace(trimmed=lost), text

    def _due_in(self, request: Request, media: Sequence[Shown]) -> int:
        """The special tokens that are not the callers' in a chat of this structure."""
        harmless = self.template.chat(request, media, harmless=True)
        return self._reserved.count(self._ids(self.template.render(request, harmless)))

    def _fitting(self, ids: list[int]) -> list[int]:
        """The text's tokens. Raises CallerError if no answer would fit after them."""
        # A picture's mark never becomes fewer tokens once the picture is inserted.
        if len(ids) >= self.context_length:
            raise too_long(self.context_length, f"its text alone has {len(ids)}. Shorten it.")
        return ids

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _media(
    request: Request, pictures: Sequence[Shown], sounds: Sounds = (), videos: Videos = ()
) -> list[Shown]:
    waves = (np.frombuffer(sound, dtype=np.float32) for sound in sounds)
    remaining: dict[type[Media], Iterator[Shown]] = {
        Image: iter(pictures),
        Sound: waves,
        Video: map(pixels_of, videos),
    }
    return [next(remaining[type(part)]) for part in request.media]


def _refused(message: str) -> CallerError:
    return CallerError("invalid_request", message, param="messages")


def _placeholder_ids(processor: Any, config: Any) -> Iterator[int]:
    for kind in PLACEHOLDERS:
        for holder in (config, processor):
            id_ = getattr(holder, f"{kind}_token_id", None)
            if isinstance(id_, int):
                yield id_
