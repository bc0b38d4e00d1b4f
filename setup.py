"""The list of packages, which pyproject.toml cannot compute.

The folders lie at the top level and are imported as `hansa.<folder>`; `hansa` itself is a namespace package without
a folder. The static configuration knows `package-dir`, but its `find` names packages by where they lie (`conf.task`),
not by what they are mapped to (`hansa.conf.task`); a list by hand would one day lack a new folder. So: every folder
with an `__init__.py` below a source folder is a package. All else stands in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
SOURCES = ("strategies", "fedprivacy", "fedtasks", "fedlink", "fedclient", "fedserver", "simulations", "conf")

packages = [
    ".".join(("hansa", *init.parent.relative_to(ROOT).parts))
    for source in SOURCES
    for init in sorted((ROOT / source).rglob("__init__.py"))
]

setup(
    packages=packages,
    package_dir={f"hansa.{source}": source for source in SOURCES if f"hansa.{source}" in packages},
)
