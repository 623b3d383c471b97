"""Pictures: bytes -> RGB. Decides how every kind of picture becomes three channels of 8 bits, upright and opaque.

The decoder is chosen by the first bytes, from a list, and constructed directly. `Image.open(formats=...)` would judge
the size before we can see it, by a process-wide setting and warning filter; our limits hold whatever a program has done
to `Image.MAX_IMAGE_PIXELS`, in any thread, and errors name the sides. Alpha goes on white (most transparent pictures
are drawn for a page), 16-bit grey is scaled and not cut off, EXIF orientation is applied. Colour profiles are ignored,
as they are in the training of the encoders.
"""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError, MediaLimit
from polymodal.media import gate
from polymodal.media.gate import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from PIL import Image

# format -> the module and class of Pillow that decode it: the whole list of decoders that untrusted bytes can reach
DECODERS = {
    "png": ("PngImagePlugin", "PngImageFile"),
    "jpeg": ("JpegImagePlugin", "JpegImageFile"),
    "webp": ("WebPImagePlugin", "WebPImageFile"),
    "gif": ("GifImagePlugin", "GifImageFile"),
    "bmp": ("BmpImagePlugin", "BmpImageFile"),
    "tiff": ("TiffImagePlugin", "TiffImageFile"),
    "avif": ("AvifImagePlugin", "AvifImageFile"),
}


def load_image(source: Any, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """One picture as mode RGB, upright, opaque; of an animation, the first frame.

    `source`: a path, bytes, a data URI, a `PIL.Image.Image`, or a uint8 array [height, width, 3]. Raises `MediaError`
    for what is not a picture, is damaged or cut short, or is over `limits`; the size is checked before any decoding.
    """
    from PIL import Image, ImageOps

    if isinstance(source, Image.Image):
        picture, name = source, gate.display(getattr(source, "filename", "") or "<picture>")
    elif hasattr(source, "__array__"):
        picture, name = _from_array(source), "<array>"
    else:
        data, name = gate.read(source, limits)
        kind = gate.expect(data, name, DECODERS, "picture")
        with gate.decoding(name):
            try:
                picture = opened(data, kind)
            except Image.DecompressionBombError as error:  # WebP's own reader counts the pixels, too
                raise MediaLimit(f"{name}: is over the limit of pixels ({error})") from error
    check_size(picture.size, name, limits)
    with gate.decoding(name):
        return to_rgb(ImageOps.exif_transpose(picture), name)


def opened(data: bytes, kind: str) -> Any:
    """The picture file of a format of DECODERS, its header read and nothing decoded."""
    module, decoder = DECODERS[kind]
    return getattr(importlib.import_module(f"PIL.{module}"), decoder)(io.BytesIO(data))


def to_rgb(picture: Image.Image, name: str) -> Image.Image:
    """A copy in mode RGB, transparency on white. Raises `MediaError` for numbers that have no white level."""
    import numpy as np
    from PIL import Image

    if picture.mode == "F":
        raise MediaError(f"{name}: a picture of floats has no white level; scale it to 8 bits first")
    if picture.mode.startswith("I"):  # "I;16", its byte orders, and "I", which holds 16 bits in 32
        grey = np.asarray(picture).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65_535:
            raise MediaError(f"{name}: a picture of 32-bit integers has no white level; scale it to 8 bits first")
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")  # 65535 / 255 = 257
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        page = Image.new("RGB", picture.size, "white")
        page.paste(picture, mask=picture.getchannel("A"))
        return page
    return picture.convert("RGB")


def _from_array(source: Any) -> Image.Image:
    import numpy as np
    from PIL import Image

    array = np.asarray(source)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise MediaError(f"<array>: a picture is uint8 [height, width, 3], not {array.dtype} {list(array.shape)}")
    return Image.fromarray(array)


def check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    """Raises `MediaError` for a size (width, height) over `limits`."""
    width, height = size
    sides = f"({width} x {height})"
    if width * height > limits.max_pixels:
        found, limit = width * height / 1e6, limits.max_pixels / 1e6
        raise MediaLimit(f"{name}: {found:.4g} megapixels {sides} is over the limit of {limit:.4g} megapixels")
    if max(size) > limits.max_side:
        raise MediaLimit(f"{name}: {max(size)} pixels on a side {sides} is over the limit of {limits.max_side}")
    if min(size) < 1:
        raise MediaError(f"{name}: has no pixels {sides}")
