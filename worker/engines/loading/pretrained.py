"""Loads a model folder's processor, configs and network with transformers' Auto classes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
import transformers
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, GenerationConfig, GenerationMixin

from shared.errors import ModelFailed
from shared.model_files import description_faults, torchvision_install, weight_faults
from shared.models import Model
from worker.engines.loading.attention import KIND
from worker.engines.loading.devices import check_devices, check_places, warn_of_idle_gpu
from worker.engines.loading.generation_defaults import check_defaults, settle
from worker.engines.loading.torch_errors import out_of_memory

# How many missing tensors a message names.
NAMED = 3
# Parts of vision towers that the language model does not use, because it is shown an earlier layer.
UNREAD = {"pooler", "head", "post_layernorm"}
# Fields of a row that this installation or the model may not support.
WISHES = ("attention", "quantization_config", "device_map")
# Characters of transformers' own words that a message quotes: callers read 500 of it, the log all.
WORDS_OF_OTHERS = 250


def pretrained(model: Model, folder: Path) -> tuple[Any, Any]:
    """The processor and the network. Code in the folder runs only if the models file trusts it.

    Raises ModelFailed if such code is needed but not trusted, if a field of the row is not supported, or if
    a file is damaged or missing, and whatever else transformers raises.
    """
    check_devices(model)
    warn_of_idle_gpu(model)
    with _only_trusted(model):
        processor, config = _described(model, folder)
        network = _network(model, folder, config)
    settle(network.generation_config)
    return processor, network


def check_shapes(model: Model, folder: Path, config: Any) -> None:
    """Load the model without the values of its weights, in little time and memory. Raises as `pretrained`.

    Nothing is found where that cannot be tried: methods of quantising want their device, and transformers
    wants accelerate, which vLLM's installation may lack.
    """
    if find_spec("accelerate") and not _quantized(model, config):
        with _only_trusted(model):
            _read(model, folder, config, "meta")


def configs_of(model: Model, folder: Path) -> tuple[Any, Any, GenerationConfig]:
    """The processor, config and generation config, without any weights. Raises as `pretrained`."""
    with _only_trusted(model):
        processor, config = _described(model, folder)
    try:
        defaults = GenerationConfig.from_pretrained(folder)
    except OSError:
        # The folder has none.
        defaults = GenerationConfig.from_model_config(config)
    settle(defaults)
    return processor, config, defaults


def wishes_of(model: Model, fields: Sequence[str]) -> str:
    """Those of the fields that the row sets, with their values."""
    return ", ".join(
        f"{field} = {getattr(model, field)!r}" for field in fields if field in model.model_fields_set
    )


def _log_our_way(speech: Any) -> None:
    """Send transformers' messages to the log like all others, without progress bars."""
    speech.disable_default_handler()
    speech.enable_propagation()
    speech.disable_progress_bar()


@contextmanager
def _only_trusted(model: Model) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if model.trust_remote_code or "trust_remote_code" not in str(error):
            raise
        raise ModelFailed(
            f"model {model.id}: its folder brings code of its own, which runs only with "
            "trust_remote_code = true in the models file; read that code first."
        ) from None


def _described(model: Model, folder: Path) -> tuple[Any, Any]:
    auto: Any = transformers
    _log_our_way(auto.utils.logging)
    _refuse(model, description_faults(folder))
    trust = {"trust_remote_code": model.trust_remote_code}
    with _named(model, "config.json"):
        config = auto.AutoConfig.from_pretrained(folder, **trust)
    with _named(model, "processor (tokenizer.json and the other JSON files)"):
        processor = auto.AutoProcessor.from_pretrained(folder, **trust)
    _check_processor(model, processor, config)
    check_defaults(model, folder)
    return processor, config


def _check_processor(model: Model, processor: Any, config: Any) -> None:
    """Raises ModelFailed where a processor of transformers names no token that stands for a picture.

    Without one a text itself may stand for a picture: some fetch the address that it is (transformers 5.23,
    IdeficsProcessor), past all checks of strangers' addresses (SECURITY.md).
    """
    is_known = type(processor).__module__.startswith("transformers.")
    if is_known and not isinstance(getattr(processor, "image_token", None), str):
        raise ModelFailed(
            f"model {model.id}: its type is {config.model_type}, whose processor names no token that stands "
            "for a picture (image_token): only models that are shown pictures among the words are served."
        )


def _refuse(model: Model, faults: Iterator[str]) -> None:
    """Raises ModelFailed naming the first fault, if there is one."""
    fault = next(faults, None)
    if fault is not None:
        raise ModelFailed(f"model {model.id}: {fault}; get its files anew.")


@contextmanager
def _named(model: Model, part: str) -> Iterator[None]:
    """Name the row and the part of the folder that transformers' own words do not name."""
    try:
        yield
    except Exception as error:  # What tokenizers raises has no other class.
        if not model.trust_remote_code and "trust_remote_code" in str(error):
            raise
        reason = shorten(f"{type(error).__name__}: {error}", WORDS_OF_OTHERS)
        cure = "install what is missing, or get its files anew"
        if "torchvision" in reason.lower():
            cure = f"install it by `{torchvision_install()}`"
        raise ModelFailed(f"model {model.id}: its {part} cannot be loaded ({reason}); {cure}.") from error


def _network(model: Model, folder: Path, config: Any) -> Any:
    place = _device_map(model, config)
    network = _read(model, folder, config, place)
    check_places(model, network)
    return network.to(_device(model.device)) if place is None else network


def _read(model: Model, folder: Path, config: Any, place: Any) -> Any:
    """The network, where `place` puts it; None leaves it in main memory."""
    _refuse(model, weight_faults(folder))
    kind = getattr(transformers, _network_class(config))
    if not hasattr(config, "auto_map"):
        _check_kind(model, config)
    arguments = {
        "dtype": model.dtype,
        # By default transformers uses sdpa for each part that supports it; asked for it, for all parts or
        # none.
        "attn_implementation": None if model.attention == KIND else model.attention,
        "trust_remote_code": model.trust_remote_code,
        "quantization_config": model.quantization_config and dict(model.quantization_config),
        "device_map": place,
    }
    arguments = {name: value for name, value in arguments.items() if value is not None}
    try:
        # Tensors of the wrong shape are reported by name together with the missing ones.
        network, info = kind.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
        )
    except (ImportError, RuntimeError, ValueError) as error:
        wishes = wishes_of(model, WISHES)
        if not wishes or "trust_remote_code" in str(error) or out_of_memory(error):
            raise
        raise ModelFailed(f"model {model.id}, with {wishes}: {error}") from error
    info["missing_keys"] = _without_unread(network, info["missing_keys"])
    _check_whole(model, info)
    return network


def _without_unread(network: Any, missing: Iterable[str]) -> list[str]:
    """The missing tensors, without those of parts that many checkpoints omit because their output is unused.

    These are set to NaN: a model that uses them after all fails instead of answering at random.
    """
    unread = [name for name in missing if UNREAD & set(name.split("."))]
    tensors = network.state_dict(keep_vars=True)
    for name in unread:
        if tensors[name].is_floating_point():
            tensors[name].data.fill_(torch.nan)
    return [name for name in missing if name not in unread]


def _check_whole(model: Model, info: dict[str, Any]) -> None:
    """Raises ModelFailed naming missing tensors: transformers would fill them at random."""
    lacks = sorted(info["missing_keys"])
    other = sorted(info["mismatched_keys"])
    shapes = [f"{name} is {tuple(has)}, not {tuple(due)}" for name, has, due in other]
    for fault, names in (("lack", lacks), ("have in another shape", shapes)):
        if names:
            named = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
            raise ModelFailed(
                f"model {model.id}: its weights {fault} {len(names)} of the tensors that it computes with: "
                f"{named}. Get its files anew."
            )


def _network_class(config: Any) -> str:
    """Folders with code of their own may name a causal language model, pictures or not."""
    named = getattr(config, "auto_map", None) or {}
    usual, older = "AutoModelForImageTextToText", "AutoModelForCausalLM"
    return older if older in named and usual not in named else usual


def _check_kind(model: Model, config: Any) -> None:
    """Raises ModelFailed if transformers has no network of this type that answers token by token."""
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelFailed(
            f"model {model.id}: its type is {config.model_type}, of which transformers has no "
            "AutoModelForImageTextToText: only models that answer pictures with texts are served."
        )
    found: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    if not any(issubclass(one, GenerationMixin) for one in (found if isinstance(found, tuple) else (found,))):
        raise ModelFailed(
            f"model {model.id}: its type is {config.model_type}, which does not answer token by token "
            "(transformers' GenerationMixin): only models that do are served."
        )


def _device_map(model: Model, config: Any) -> Any:
    """Puts quantised weights on the GPU at once: those of some methods cannot be moved afterwards."""
    if model.device_map is None and _quantized(model, config) and _device(model.device) != "cpu":
        return {"": _device(model.device)}
    return model.device_map


def _quantized(model: Model, config: Any) -> bool:
    return bool(model.quantization_config or getattr(config, "quantization_config", None))


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
