"""Conversations for every family, and what transformers answers when asked as its documentation says."""

import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image as Pictures
from PIL.Image import Image as Picture

from shared.models import Model
from shared.request import Image, Message, Parameters, Request, Role, Text
from tests.support.device import DEVICE
from tests.support.families.family import Family, hf
from worker.engines.base import Engine, Row
from worker.engines.loading.loaded import LoadedEngine, LoadedModel
from worker.engines.registry import create

ANSWER = 9
"""Tokens of an answer: enough for a wrong KV cache to show."""


def spot(colour: str, size: tuple[int, int] = (64, 48), ground: str = "white") -> Picture:
    image = Pictures.new("RGB", size, ground)
    width, height = size
    image.paste(colour, (width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    return image


RED, BLUE, WIDE = spot("red"), spot("blue"), spot("green", (112, 40), "black")


@dataclass(frozen=True)
class Conversation:
    """Turns of texts and pictures, the caller's first; they alternate."""

    name: str
    turns: tuple[tuple[Picture | str, ...], ...]

    @property
    def pictures(self) -> list[Picture]:
        return [part for turn in self.turns for part in turn if not isinstance(part, str)]

    def fits(self, family: Family) -> bool:
        one = len(self.turns) == 1 or not family.single
        return one and (family.text_alone or bool(self.pictures))

    def request(self, **parameters: Any) -> Request:
        messages = tuple(
            Message(role=role, parts=tuple(Text(text=p) if isinstance(p, str) else Image() for p in turn))
            for role, turn in zip(self._roles(), self.turns, strict=True)
        )
        return Request(model="m", messages=messages, parameters=Parameters(**parameters))

    def documented(self) -> list[dict[str, Any]]:
        """As transformers' documentation writes a conversation."""
        return [
            {"role": role, "content": [_documented(part) for part in turn]}
            for role, turn in zip(self._roles(), self.turns, strict=True)
        ]

    def _roles(self) -> list[Role]:
        return [("user", "assistant")[number % 2] for number in range(len(self.turns))]


CONVERSATIONS = (
    Conversation("text", (("Hello there",),)),
    Conversation("picture", ((RED, "What is it?"),)),
    Conversation("two-pictures", ((RED, WIDE, "What are they?"),)),
    Conversation("follow-up", ((RED, "What is it?"), ("A spot.",), ("And this?", WIDE))),
)


def _documented(part: Picture | str) -> dict[str, Any]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}


@dataclass(frozen=True)
class Subject:
    """One family's folder, loaded by an engine of ours and by transformers alone.

    `auto`: the class of transformers that loads it. `trusted`: its own code is run.
    """

    family: Family
    folder: Path
    auto: str = "AutoModelForImageTextToText"
    trusted: bool = False

    @property
    def network(self) -> Any:
        return _plain(self)[1]

    @property
    def processor(self) -> Any:
        return _plain(self)[0]

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    def engine(self, name: str = "sequential", **fields: Any) -> Engine:
        """Loaded once for each way to load it."""
        return _engine(self.folder, name, **fields)

    def row(self, engine: Engine, conversation: Conversation, scope: str = "", /, **parameters: Any) -> Row:
        settings = {"max_new_tokens": ANSWER, **parameters}
        request = conversation.request(**settings)
        prompt = engine.prepare(request, conversation.pictures, scope)
        return Row(prompt, request.parameters, lambda _: None, threading.Event())

    def generated(self, conversation: Conversation, **settings: Any) -> tuple[int, ...]:
        """The ids that transformers alone generates."""
        return self.continued(self._inputs(conversation), **settings)

    def continued(self, inputs: Any, network: Any = None, **settings: Any) -> tuple[int, ...]:
        """What transformers alone generates after these inputs, by a network of its own or another."""
        network = network or self.network
        ids = network.generate(**inputs.to(network.device, network.dtype), **self.greedy(**settings))
        return tuple(ids[0, inputs["input_ids"].shape[1] :].tolist())

    def greedy(self, **settings: Any) -> dict[str, Any]:
        """An answer's settings: no placeholders, which no trained model writes."""
        config, processor = self.network.config, self.processor
        named = [getattr(config, f"{kind}_token_id", None) for kind in ("image", "video", "audio")]
        placeholders = sorted({*named, processor.image_token_id} - {None})
        return {"max_new_tokens": ANSWER, "suppress_tokens": placeholders, **settings}

    def templated(self, turns: list[dict[str, Any]]) -> Any:
        """The inputs of a chat, as transformers' documentation makes them."""
        return self.processor.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )

    def _inputs(self, conversation: Conversation) -> Any:
        if not self.family.single:
            return self.templated(conversation.documented())
        pictures = conversation.pictures
        text = self.processor.image_token * len(pictures) + str(conversation.turns[0][-1])
        return self.processor(text=text, images=[pictures], return_tensors="pt")


@cache
def _engine(folder: Path, name: str, **fields: Any) -> Engine:
    model = Model(id=f"tiny/{folder.name}", source=str(folder), engine=name, **fields)
    engine = create(model)
    if name == "auto" or not isinstance(engine, LoadedEngine) or fields.keys() - {"rows"}:
        return engine.load()
    engine.start(_loaded(folder))
    return engine


@cache
def _loaded(folder: Path) -> LoadedModel:
    """Engines that ask nothing of its loading share a network, as `auto` hands one on."""
    return LoadedModel(Model(id=f"tiny/{folder.name}", source=str(folder)))


@cache
def _plain(subject: Subject) -> tuple[Any, Any]:
    folder, trusted = subject.folder, subject.trusted
    processor = hf.AutoProcessor.from_pretrained(folder, trust_remote_code=trusted)
    network = getattr(hf, subject.auto).from_pretrained(folder, trust_remote_code=trusted)
    return processor, network.eval().to(DEVICE)
