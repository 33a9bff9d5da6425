"""Where the sandbox listens, the token that it takes, and the name of its file."""

# Not a secret: the sandbox listens on loopback only and holds nothing that its file does not.
SANDBOX_TOKEN = "csm-sandbox"  # noqa: S105
DEFAULT_PORT = 8756
DEFAULT_VIEW_ADDRESS = f"http://127.0.0.1:{DEFAULT_PORT}"
SANDBOX_FILE = "notion_sandbox.sqlite"
