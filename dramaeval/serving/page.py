"""The web page of a server, from one template; the page loads no file from another server."""

from __future__ import annotations

import secrets
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.html.j2")


def render_page(title: str, *, needs_token: bool) -> tuple[str, str]:
    """The page and its Content-Security-Policy.

    The policy allows the page's style and script, requests to this server, and clips that the user has chosen.

    Args:
        title: the title of the page.
        needs_token: whether the page asks for the server's token.
    """
    from jinja2 import Environment, StrictUndefined

    nonce = secrets.token_urlsafe(16)
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return template.render(title=title, needs_token=needs_token, nonce=nonce), policy
