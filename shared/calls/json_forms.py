"""The forms whose arguments are JSON: Hermes', Llama's and Mistral's."""

from shared.calls.called import Called, NoCallError, after_blanks, called, ends_in_text, first, made, parsed
from shared.calls.form import Form, Whole


class Hermes(Form):
    """Each call stands between two tags, as an object."""

    opening = "<tool_call>"
    closing = "</tool_call>"

    def read(self, text: str, *, last: bool) -> Whole | None:
        begin = len(self.opening)
        end = text.find(self.closing, begin)
        while end >= 0:
            inside = text[begin:end].strip()
            try:
                return [called(parsed(inside), "name", "arguments")], end + len(self.closing)
            except NoCallError:
                # The tag may stand in an argument's text, where it ends nothing.
                if not ends_in_text(inside):
                    raise
            end = text.find(self.closing, end + 1)
        # A model may end its answer without the tag.
        return ([called(parsed(text[begin:].strip()), "name", "arguments")], len(text)) if last else None


class Llama(Form):
    """The answer is an object, or several with semicolons between them; no words stand before it."""

    opening = "{"
    closing = "}"
    leads = True
    skipped = "<|python_tag|>"
    between = ";"

    def read(self, text: str, *, last: bool) -> Whole | None:  # noqa: ARG002
        found = first(text, 0)
        if found is None:
            return None
        value, end = found
        if not isinstance(value, dict) or not value.keys() & {"parameters", "arguments"}:
            raise NoCallError
        key = "parameters" if "parameters" in value else "arguments"
        return [called(value, "name", key)], end


class Mistral(Form):
    """A list of objects behind one mark; later models write the mark, a name and an object for each call."""

    opening = "[TOOL_CALLS]"
    closing = ("]", "}")

    def read(self, text: str, *, last: bool) -> Whole | None:  # noqa: ARG002
        at = after_blanks(text, len(self.opening))
        if text.startswith(("[{", "[ {", "{"), at):
            found = first(text, at)
            return None if found is None else (_listed(found[0]), found[1])
        head, mark, _ = text[at:].partition("[ARGS]")
        if not mark:
            return None
        found = first(text, after_blanks(text, at + len(head) + len(mark)))
        name = head.partition("[CALL_ID]")[0].strip()
        return None if found is None else ([made(name, found[0])], found[1])


def _listed(value: object) -> list[Called]:
    return [called(item, "name", "arguments") for item in (value if isinstance(value, list) else [value])]
