"""Names the packages; everything else about the build stands in pyproject.toml.

``pyoco_server.web`` lies in ``web/``, outside its parent, where setuptools' own search does not find it; a
list written out in pyproject.toml would lose, silently, every subpackage that someone forgets to add.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["pyoco_server", "pyoco_server.*"]), "pyoco_server.web"])
