"""Controls at ``/_sandbox`` for other processes: faults, request log and user actions. They require the token.

- ``GET /_sandbox/faults``, ``POST`` one fault or a list of them, ``DELETE`` all;
- ``GET /_sandbox/requests``, ``DELETE`` to clear the log;
- ``POST /_sandbox/people``: ``{"action": "trash", "id": …}``, see ``csm_core.notion_sandbox.user_actions``.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from csm_core.notion_sandbox.errors import ApiError
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.service import Service, parse_body, read_body
from csm_core.notion_sandbox.user_actions import UserActions


class Controls:
    """The controls of one server."""

    def __init__(self, service: Service, actions: UserActions, token: str) -> None:
        self._service = service
        self._actions = actions
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        request = HttpRequest(scope, receive)
        token = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not secrets.compare_digest(token, f"Bearer {self._token}".encode()):
            response = JSONResponse({"message": "the controls require the token of the sandbox"}, 401)
        else:
            try:
                body = await read_body(receive)
                value: Any = parse_body(body) if request.method == "POST" else None
                # Half a surrogate pair cannot be encoded in a response.
                json.dumps(value, ensure_ascii=False).encode()
                response = self._act(request.method, request.url.path.removeprefix("/_sandbox/"), value)
            except ApiError as error:
                response = JSONResponse({"message": error.message}, error.status)
            except (ValueError, TypeError, KeyError, AttributeError, re.error, OverflowError) as problem:
                response = JSONResponse({"message": f"the body is not valid: {problem}"}, 400)
        await response(scope, receive, send)

    def _act(self, method: str, control: str, value: Any) -> JSONResponse:
        faults, requests = self._service.faults, self._service.requests
        if control == "faults" and method == "GET":
            return JSONResponse({"faults": faults.armed()})
        if control == "faults" and method == "POST":
            faults.add(*(Fault.of(item) for item in (value if isinstance(value, list) else [value])))
            return JSONResponse({"faults": faults.armed()})
        if control == "faults" and method == "DELETE":
            faults.clear()
            return JSONResponse({"faults": []})
        if control == "requests" and method == "GET":
            return JSONResponse({"requests": [request.as_dict() for request in list(requests)]})
        if control == "requests" and method == "DELETE":
            requests.clear()
            return JSONResponse({"requests": []})
        if control == "people" and method == "POST" and isinstance(value, dict):
            return JSONResponse(self._actions.act(value))
        return JSONResponse({"message": f"unknown control: {method} {control}"}, 404)
