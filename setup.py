"""Everything setuptools needs, read from settings.ini (the file nbdev reads too)."""
import lzma
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

suffix = "_requirements"
extras = {key.removesuffix(suffix): cfg[key].split() for key in cfg if key.endswith(suffix)}
readme = here / "README.md"


def packed(data: bytes) -> bytes:
    "As xz, in the better of two ways: as text, or as numbers of four bytes."
    ways = ({"lc": 4, "pb": 0}, {"lc": 0, "lp": 2, "pb": 0})
    tight = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}
    return min((lzma.compress(data, filters=[tight | way]) for way in ways), key=len)


class AsItTravels(build_py):
    """Without what points into notebooks (nbdev's table, a comment per cell), which is for those
    who have them; and with vectors packed as tightly as Python can read them."""

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[1] != "_modidx"]

    def build_module(self, module, module_file, package):
        built, copied = super().build_module(module, module_file, package)
        text = Path(built).read_text(encoding="utf-8")
        Path(built).unlink()        # a link to the checkout's, perhaps
        bare = re.sub("^# %% .*$", "# %%", text, flags=re.M)    # as many lines as before
        Path(built).write_text(bare, encoding="utf-8")
        return built, copied

    def build_package_data(self):
        super().build_package_data()
        for file in Path(self.build_lib).glob("pptrain/vectors/*/dev.*"):
            if file.suffix != ".xz":
                file.with_name(f"{file.name}.xz").write_bytes(packed(file.read_bytes()))
                file.unlink()


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else cfg["description"],
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"],
    author=cfg["author"],
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Jupyter",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    packages=find_packages(include=["pptrain", "pptrain.*"]),
    # notebooks/ is a link to nbs/replication, vectors/ one to tests/vectors: real files in
    # wheels and sdists, and editable installs find them too
    package_data={"pptrain": ["py.typed", "notebooks/*.ipynb", "assets/*", "vectors/*/dev.*"]},
    include_package_data=False,
    entry_points={"console_scripts": cfg["console_scripts"].split()},
    cmdclass={"build_py": AsItTravels},
    zip_safe=False,
)
