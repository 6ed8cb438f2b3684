"""Tiny random models of every family, each as a folder that transformers' Auto classes load."""

from tests.support.families import gemma, idefics, llama, llava, qwen
from tests.support.families.family import Family

FAMILIES = (
    Family("llava", llava.llava),
    Family("llava-onevision", llava.llava_onevision),
    Family("internvl", llava.internvl),
    Family("paligemma", llava.paligemma, single=True, text_alone=False, seed=1),
    Family("idefics2", idefics.idefics2),
    Family("idefics3", idefics.idefics3, seed=2),
    Family("smolvlm", idefics.smolvlm, seed=2),
    Family("qwen2-vl", qwen.qwen2_vl, seed=1),
    Family("qwen2.5-vl", qwen.qwen2_5_vl),
    Family("qwen2.5-vl-sliding", qwen.qwen2_5_vl_sliding),
    Family("qwen3-vl", qwen.qwen3_vl, seed=3),
    Family("qwen3.5", qwen.qwen3_5, seed=1),
    Family("gemma3", gemma.gemma3, seed=3),
    Family("gemma4", gemma.gemma4, seed=2),
    Family("mistral3", llama.mistral3),
    Family("llama4", llama.llama4, seed=3),
    Family("lfm2-vl", llama.lfm2_vl, seed=2),
    Family("mllama", llama.mllama, seed=3),
)
NAMED = {family.name: family for family in FAMILIES}
