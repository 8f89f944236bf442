"""Which files are images: by their suffix, of the types that the installed Pillow reads."""

import contextlib
import importlib

from PIL import Image

_HEIC = (".heic", ".heif", ".hif")
_COMMON = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".avif")
_RARE = (".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".tga", ".qoi")
_SUFFIXES = frozenset((*_COMMON, *_RARE, *_HEIC))
_NEEDS = {
    ".avif": "needs a Pillow with AVIF",
    **dict.fromkeys(_HEIC, "needs pillow-heif: pip install 'imbalanced-cil-sweeper[heic]'"),
}


def readable() -> frozenset[str]:
    """Suffixes of the image files that are read, in small letters."""
    open_heic()
    return _SUFFIXES & Image.registered_extensions().keys()


def missing_reader(suffix: str) -> str | None:
    """What images of a suffix that is not ``readable`` need to be; None where they are no images."""
    return _NEEDS.get(suffix)


def open_heic() -> None:
    """Let Pillow open HEIC, where pillow-heif is installed."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
