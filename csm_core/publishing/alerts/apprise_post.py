"""Sends a text through Apprise, the library of the extra ``alerts``, to the service that an address names.

The address is a secret: no result, log or error contains it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType

from csm_core.errors import ConfigError
from csm_core.publishing.alerts.webhook import Posted

# They log hosts, paths and tokens, some of which are parts of the address that nothing else recognises.
_TALKATIVE = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib")


def post_text(url: str, title: str, text: str, *, on_sending: Callable[[], None] | None = None) -> Posted:
    """Send a title and a plain text once. ``on_sending`` is called before anything is sent.

    Apprise does not tell why a service failed, so each failure after ``on_sending`` is uncertain. Raises ConfigError
    if Apprise is not installed.
    """
    apprise = _apprise()
    with _silent():
        # Memory: by default, some services keep tokens in files.
        receiver = apprise.Apprise(asset=apprise.AppriseAsset(app_id="csm-health", storage_mode="memory"))
        if not receiver.add(url) or not len(receiver):
            return Posted("rejected", "Apprise does not know the service of the address, or a part of it is missing")
        if on_sending:
            on_sending()
        # Texts come from records: without escapes, and converted where a service expects HTML.
        delivered = receiver.notify(body=text, title=title, body_format="text", interpret_escapes=False)
    if delivered:
        return Posted("accepted")
    return Posted("uncertain", "Apprise reports that the service failed, without the reason")


def _apprise() -> ModuleType:
    try:
        import apprise  # pyright: ignore[reportMissingImports]
    except ImportError:
        message = (
            "a route with `to: apprise` needs the extra `alerts`, which is not installed. Install it: "
            'pip install "csm-health[alerts]"'
        )
        raise ConfigError(message) from None
    return apprise


@contextmanager
def _silent() -> Generator[None]:
    """Keep the records of these loggers, and of those below them, away from all handlers."""
    loggers = [
        logging.getLogger(name)
        for name in sorted({*logging.root.manager.loggerDict, *_TALKATIVE})
        if name.partition(".")[0] in _TALKATIVE
    ]
    before = [(logger, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in before:
            logger.disabled = disabled
