"""Chat templates: finds the end of an answer, and extends templates of text models with clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError

#: The placeholder of a clip, and the tokens before and after it, as in Qwen2-Audio.
AUDIO_TOKENS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
_CLIP = "<|audio_bos|><|AUDIO|><|audio_eos|>"
#: The answer in the conversation from which the end of a turn is read.
_ANSWER = "ANSWER"

Messages = Sequence[dict[str, Any]]

#: Prefix for the template of a text model: converts messages that are lists of parts to text. A clip is written as in
#: Qwen2-Audio. Other keys of a message are copied.
_FLATTEN = """\
{%- set judge = namespace(messages=[], clips=0, system='') -%}
{%- for message in messages -%}
  {%- set turn = namespace(text='') -%}
  {%- if message['content'] is string -%}
    {%- set turn.text = message['content'] -%}
  {%- else -%}
    {%- for part in message['content'] -%}
      {%- if 'audio' in part or 'audio_url' in part or part['type'] == 'audio' -%}
        {%- set judge.clips = judge.clips + 1 -%}
        {%- set turn.text = turn.text ~ 'Audio ' ~ judge.clips ~ ': CLIP\n' -%}
      {%- elif 'text' in part -%}
        {%- set turn.text = turn.text ~ part['text'] -%}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  ADD_MESSAGE
{%- endfor -%}
{%- set messages = judge.messages -%}
""".replace("CLIP", _CLIP)
_ADD = "{%- set judge.messages = judge.messages + [dict(message, content=turn.text)] -%}\n  "
#: For templates without a system message: adds its text to the beginning of the next message.
_MERGE = """\
{%- if message['role'] == 'system' -%}
    {%- set judge.system = judge.system ~ turn.text ~ '\n\n' -%}
  {%- else -%}
    {%- set judge.messages = judge.messages + [dict(message, content=judge.system ~ turn.text)] -%}
    {%- set judge.system = '' -%}
  {%- endif -%}"""
#: For models without a template: joins the texts, as `model=causal_lm` does.
_PLAIN = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' if loop.last else '\n\n' }}{% endfor %}"
)
#: Values for variables of published templates that would make a prompt depend on the date, or ask for a thought.
_SETTINGS = {"date_string": "'26 Jul 2024'", "enable_thinking": "false"}
_TEST: Messages = (
    {"role": "system", "content": "SYSTEM"},
    {"role": "user", "content": [{"type": "audio", "audio_url": "x"}, {"type": "text", "text": "Q"}]},
)  # fmt: skip


def with_clips(tokenizer: Any) -> str:
    """Extend the chat template of a text model's tokenizer so that messages may contain clips.

    A template that supports clips is returned unchanged. If a template refuses a system message, the text of the system
    message is added to the beginning of the user's message.

    Args:
        tokenizer: a tokenizer with the tokens `AUDIO_TOKENS`.

    Raises:
        TemplateError: the template cannot render a question with a clip.
    """
    template = tokenizer.chat_template or _PLAIN
    values = "".join(
        f"{{%- set {name} = {value} -%}}\n" for name, value in _SETTINGS.items() if name in template
    )
    extended = [_FLATTEN.replace("ADD_MESSAGE", add) + values + template for add in (_ADD, _MERGE)]
    for candidate in (template, *extended):
        if _renders_clips(tokenizer, candidate):
            return candidate
    raise TemplateError("it does not render a system message and a question with a clip")


def _renders_clips(tokenizer: Any, template: str) -> bool:
    """Whether a template writes the system message, exactly one clip, and the question."""
    try:
        text = tokenizer.apply_chat_template(
            list(_TEST), chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, TypeError):
        return False
    return text.count(AUDIO_TOKENS[0]) == 1 and "SYSTEM" in text and "Q" in text


def content_parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content of a message as parts; a text is one part."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def render_as_texts(processor: Any, messages: Messages) -> str:
    """Render messages with a chat template that takes texts, in which a clip is the processor's placeholder."""
    texts = []
    for message in messages:
        parts = content_parts(message["content"])
        text = "".join(part.get("text", processor.audio_token) for part in parts)
        texts.append({**message, "content": text})
    return processor.tokenizer.apply_chat_template(
        texts, chat_template=processor.chat_template, tokenize=False, add_generation_prompt=True
    )


def end_of_turn(holder: Any, **settings: Any) -> str | None:
    """The text that a chat template writes after an answer, up to the first special token; None without such a token.

    Args:
        holder: the processor or tokenizer that holds the template.
        settings: further arguments of its ``apply_chat_template``.
    """
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _ANSWER}]
    text = holder.apply_chat_template(turns, tokenize=False, **settings)
    after = text.rpartition(_ANSWER)[2]
    tokenizer = getattr(holder, "tokenizer", holder)
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    ends = [after.index(token) + len(token) for token in special if token in after]
    return after[: min(ends)] if ends else None
