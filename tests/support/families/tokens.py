"""A tokenizer of single bytes: nothing to train, and any text goes through it."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, START, END, USER, ASSISTANT = "<pad>", "<bos>", "<eos>", "<|user|>", "<|assistant|>"


def byte_tokenizer(*special: str, **named: str) -> PreTrainedTokenizerFast:
    """`special` tokens are known by their text, `named` ones also by attributes (`tokenizer.image_token`)."""
    alphabet = [PAD, START, END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={piece: id_ for id_, piece in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, START, END, USER, ASSISTANT, *special, *named.values()])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        padding_side="left",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=dict(named),
    )


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found


def chat_template(picture: str, video: str | None = None) -> str:
    """Turns between marks; `picture` and `video` are what a family writes where one stands."""
    shown = "" if video is None else "{% elif part.type == 'video' %}" + video
    return (
        "{% for message in messages %}<|{{ message.role }}|>{% for part in message.content %}"
        "{% if part.type == 'image' %}" + picture + shown + "{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}{% if not loop.last %}<eos>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<eos><|assistant|>{% endif %}"
    )
