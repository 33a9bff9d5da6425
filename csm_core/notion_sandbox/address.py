"""The address of the sandbox, its token, and the name of its file."""

# Not a secret: the sandbox listens on loopback only, and its data is in a local file anyway.
SANDBOX_TOKEN = "csm-sandbox"  # noqa: S105
DEFAULT_PORT = 8756
DEFAULT_VIEW_ADDRESS = f"http://127.0.0.1:{DEFAULT_PORT}"
SANDBOX_FILE = "notion_sandbox.sqlite"
