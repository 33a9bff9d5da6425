"""The set-up of an environment: uv and pip install the same lock from pip's index, and the script says what it does."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.config import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "scripts" / "setup_environment.py"
sys.path.insert(0, str(SCRIPT.parent))
from setup_environment import pinned, uv_variables  # noqa: E402

# A build backend of the project's own: the tests reach no index.
BACKEND = """
import zipfile
from pathlib import Path

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "little-1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("little.pth", str(Path.cwd()))
        wheel.writestr("little-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: little\\nVersion: 1.0\\n")
        tags = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("little-1.0.dist-info/WHEEL", tags)
        wheel.writestr("little-1.0.dist-info/RECORD", "")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "little"
version = "1.0"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A project, a folder with the one package that it needs, and its lock."""
    folder = tmp_path_factory.mktemp("set up")
    (folder / "project").mkdir()
    (folder / "project" / "backend.py").write_text(BACKEND)
    (folder / "project" / "pyproject.toml").write_text(PYPROJECT)
    (folder / "wheels").mkdir()
    wheel = folder / "wheels" / "needed-2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("needed.py", "VALUE = 'installed'\n")
        archive.writestr("needed-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: needed\nVersion: 2.0\n")
        archive.writestr("needed-2.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("needed-2.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "right.lock").write_text(f"needed==2.0 \\\n    --hash=sha256:{digest}\n")
    (folder / "wrong.lock").write_text(f"needed==2.0 \\\n    --hash=sha256:{digest[::-1]}\n")
    return folder


def set_up(place: Path, lock: str, *, uv: bool, name: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script with an index that is only in pip's configuration."""
    config = place / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {(place / 'wheels').as_uri()}\n")
    path = "/usr/bin:/bin"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    tools = place / "tools"
    if uv:
        tools.mkdir(exist_ok=True)
        (tools / "uv").unlink(missing_ok=True)
        (tools / "uv").symlink_to(Path(sys.prefix) / "bin" / "uv")
        path = f"{tools}:{path}"
    environment = {**kept, "PATH": path, "PIP_CONFIG_FILE": str(config), "UV_CACHE_DIR": str(place / "cache")}
    venv = place / (name or ("with uv" if uv else "with pip"))
    arguments = ["--venv", str(venv), "--project", str(place / "project"), "--ready", str(venv / ".ready")]
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(place / lock), *arguments], env=environment, capture_output=True, text=True
    )


def installed(place: Path, name: str) -> str:
    asked = "import needed, importlib.metadata as m; print(needed.VALUE, m.version('little'))"
    python = place / name / "bin" / "python"
    return subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def test_pip_installs_the_lock_where_uv_cannot_be_installed(place):
    done = set_up(place, "right.lock", uv=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert installed(place, "with pip") == "installed 1.0"
    assert (place / "with pip" / ".ready").is_file()
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"Setting up .*/with pip with Python 3\.\d+\.\d+: 1 package of .*right\.lock", lines[0])
    assert "uv cannot be installed, so pip is used instead" in done.stdout
    assert re.search(r"^  install 1 package with pip … \d+\.\d s$", done.stdout, re.MULTILINE)
    assert re.search(r"is ready: \d+ MB in \d+ s$", done.stdout, re.MULTILINE)


@pytest.mark.skipif(not (Path(sys.prefix) / "bin" / "uv").is_file(), reason="uv is not in this environment")
def test_uv_installs_the_same_from_the_index_of_pip(place):
    done = set_up(place, "right.lock", uv=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert installed(place, "with uv") == "installed 1.0"
    assert "with uv" in done.stdout
    assert "pip is used" not in done.stdout
    again = set_up(place, "right.lock", uv=True)
    assert again.returncode == 0
    assert "create the environment" not in again.stdout


def test_a_package_with_another_hash_is_rejected(place):
    done = set_up(place, "wrong.lock", uv=False, name="rejected")
    assert done.returncode == 1
    assert "setup: pip cannot install the packages" in done.stderr
    assert "HASHES" in done.stderr.upper()
    assert not (place / "rejected" / ".ready").exists()


def test_every_lock_is_read_to_the_last_package():
    for lock in (*PROJECT_ROOT.glob("*.lock"), *(PROJECT_ROOT / "scripts").glob("*.lock")):
        text = lock.read_text(encoding="utf-8")
        starts = {line.partition("==")[0].partition("[")[0] for line in text.splitlines() if line[:1].isalnum()}
        assert set(pinned(text)) == starts, lock


def test_an_address_in_pips_variables_counts_before_its_files():
    listed = "\n".join(
        [
            ":env:.index-url='https://env.example/simple'",
            "global.index-url='https://file.example/simple'",
            "global.extra-index-url='https://one.example file:///two'",
            "install.find-links='/wheels\\n/more wheels'".replace(" wheels'", "'"),
            "install.no-index='yes'",
            "global.cert='/ca.pem'",
        ]
    )
    assert uv_variables(listed, {"UV_EXTRA_INDEX_URL": "https://own.example"}) == {
        "UV_INDEX_URL": "https://env.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_NO_INDEX": "1",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_DOWNLOADS": "never",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_packages_are_compiled_where_python_does_not_keep_what_it_compiles():
    assert "UV_COMPILE_BYTECODE" not in uv_variables("", {})
    assert uv_variables("", {"PYTHONDONTWRITEBYTECODE": "1"})["UV_COMPILE_BYTECODE"] == "1"


@given(st.text())
def test_any_text_of_a_configuration_is_read(text):
    for configuration in (text, f"global.index-url={text}"):
        assert all(isinstance(value, str) for value in uv_variables(configuration, {}).values())


def test_no_file_of_the_repository_names_an_index():
    names = re.compile(r"(?:index-url|find-links|index)\s*[=:]\s*[\"']?(?:https?|file)://")
    for name in ("Makefile", "pyproject.toml", "scripts/setup_environment.py", "deploy/Dockerfile"):
        assert not names.search((PROJECT_ROOT / name).read_text(encoding="utf-8")), name
