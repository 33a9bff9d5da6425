"""What a wheel holds beyond the packages: SQL models, bundled companies, settings of Dagster, and the glossary.

In a clone they are beside ``csm_core``. A wheel has them in ``csm_core/bundled``; see csm_core/system/project_files.py.
All other settings of the package are in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLED = ("sql", "examples", "dagster.yaml", "workspace.yaml", "docs/glossary.md")


class BuildWithProjectFiles(build_py):
    """Copies the files of the project into the package; an editable install reads them where they are."""

    def run(self) -> None:
        """Build the packages, then add the files."""
        super().run()
        if self.editable_mode:
            return
        root = Path(__file__).resolve().parent
        target = Path(self.build_lib) / "csm_core" / "bundled"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in BUNDLED:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (root / name).is_dir() else shutil.copy2
            copy(root / name, target / name)


setup(cmdclass={"build_py": BuildWithProjectFiles})
