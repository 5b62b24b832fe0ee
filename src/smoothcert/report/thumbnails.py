"""Small pictures of inputs, all in one sheet."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.inputs import Inputs, Item

SIDE = 32
"""The side of a picture in pixels."""
COLUMNS = 32
_QUALITY = 80


@dataclass(frozen=True)
class Sheet:
    """Pictures side by side in one image.

    Attributes:
        uri: the image as a data: URI, empty if there is none.
        places: number of a picture, by its input's content hash.
    """

    uri: str = ""
    places: Mapping[str, int] = field(default_factory=dict)


def sheet(wanted: Iterable[tuple[int, str]], pictures: Sequence[Inputs], most: int) -> Sheet:
    """Pictures of inputs that are in the given data sets, as many as fit.

    An input is shown only if its content has the hash that was certified, so a run cannot bring
    another file into a page.

    Args:
        wanted: index and content hash of each input, the most wanted first.
        pictures: data sets; those without images are skipped.
        most: size limit of the sheet in bytes.
    """
    wanted = tuple(dict.fromkeys(wanted))
    tiles: dict[str, NDArray[np.uint8]] = {}
    for inputs in (one for one in pictures if len(one.shape) == 3 and one.shape[0] in (1, 3)):
        positions = {index: position for position, index in enumerate(inputs.indices)}
        for index, content in wanted:
            if content not in tiles and index in positions:
                item = inputs.item(positions[index])
                if item.content == content:
                    tiles[content] = _tile(item, inputs.levels)
    names = [content for _, content in wanted if content in tiles]
    while names:
        data = _encoded([tiles[name] for name in names])
        if len(data) <= most:
            uri = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
            return Sheet(uri, {name: number for number, name in enumerate(names)})
        names = names[: int(len(names) * min(0.95, most / len(data)))]
    return Sheet()


def _tile(item: Item, levels: int) -> NDArray[np.uint8]:
    """A square of three channels; what the image does not fill is grey."""
    from PIL import Image

    values = np.rint(item.pixels * (255 / levels)).astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values)
    scale = SIDE / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    tile = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    corner = ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2)
    tile.paste(image.resize((size[0], size[1]), how), corner)
    return np.asarray(tile)


def _encoded(tiles: Sequence[NDArray[np.uint8]]) -> bytes:
    from PIL import Image

    blank = [np.full((SIDE, SIDE, 3), 128, np.uint8)] * (-len(tiles) % COLUMNS)
    grid = np.stack([*tiles, *blank]).reshape(-1, COLUMNS, SIDE, SIDE, 3)
    whole = grid.transpose(0, 2, 1, 3, 4).reshape(-1, COLUMNS * SIDE, 3)
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
