"""Functions that models are shown, and chat templates in which each form of calls is written."""

from typing import Any

from shared.tool_calls.syntax import Syntax

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 8},
                "unit": {"enum": ["c", "f"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "clock"}}

# What all have in common: turns with their parts, between marks.
_TURNS = (
    "{% for m in messages %}<|{{ m.role }}|>{% for p in m.content if m.content is not string %}"
    "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "{% if m.content is string %}{{ m.content }}{% endif %}"
)
_END = (
    "{% if not loop.last %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|end|><|assistant|>{% endif %}"
)

TEMPLATES: dict[Syntax, str] = {
    "hermes": "{% if tools %}<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools>"
    'Write <tool_call>{"name": <name>, "arguments": <object>}</tool_call>.{% endif %}'
    + _TURNS
    + '{% for c in m.tool_calls %}<tool_call>\n{"name": "{{ c.function.name }}", "arguments": '
    "{{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}" + _END,
    "llama": "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}"
    'Answer {"name": function name, "parameters": dictionary of its arguments}.{% endif %}'
    + _TURNS
    + '{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "parameters": '
    "{{ c.function.arguments | tojson }}}{% endfor %}" + _END,
    "mistral": "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    + _TURNS
    + "{% if m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}{{ c.function | tojson }}"
    "{{ c.id }}{% if not loop.last %}, {% endif %}{% endfor %}]{% endif %}"
    "{% if m.role == 'tool' %}[{{ m.tool_call_id }}]{% endif %}" + _END,
    "mistral_args": "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    + _TURNS
    + "{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]"
    "{{ c.function.arguments | tojson }}{% endfor %}" + _END,
}
