"""Preprocessing from options and JSON files: our own, and those that hubs put beside a model."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smoothcert.classifiers.denoising import KEYS, Denoising, denoising
from smoothcert.classifiers.preprocessing import Preprocessing, constants
from smoothcert.classifiers.ranges import Ranges
from smoothcert.classifiers.reference import ModelReference
from smoothcert.data.columns import Columns, is_columns
from smoothcert.errors import InvalidInput, did_you_mean
from smoothcert.files import read_regular, similar
from smoothcert.text import many

_MOST_BYTES = 2**20
_MOST_CHANNELS = 4096
_OWN = ("resize", "resampling", "scale", "channels", "mean", "std", "layout")

_RESIZES = {
    *("do_resize", "size", "resample", "default_to_square", "do_thumbnail"),
    *("do_center_crop", "crop_size", "crop_pct", "crop_mode", "interpolation"),
}
"""What hubs' files say about cutting an image to size, which is done to the inputs before."""

_HARMLESS = {
    *("image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb"),
    *("data_format", "input_data_format", "return_tensors", "device", "disable_grouping"),
    *("_valid_processor_keys", "_processor_class", "auto_map", "num_channels"),
}
_HARMLESS_TIMM = {
    *("url", "file", "hf_hub_id", "hf_hub_filename", "source", "architecture", "tag", "license"),
    *("custom_load", "input_size", "test_input_size", "min_input_size", "fixed_input_size"),
    *("num_classes", "num_features", "pool_size", "first_conv", "classifier", "global_pool"),
    *("test_crop_pct", "origin_url", "paper_name", "paper_ids", "notes", "label_names"),
    *("label_offset", "label_descriptions", "hash_prefix", "model_args", "state_dict"),
}


@dataclass(frozen=True)
class _Stated:
    """What a file says.

    Attributes:
        settings: by the names of the options.
        hub: what kind of hub's file it is; empty for our own.
        left_out: what it does to images that is not put in front, in words.
        ranges: of the columns of a table.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    hub: str = ""
    left_out: str = ""
    ranges: Ranges | None = None


def given(
    file: Path | None, asked: Mapping[str, str | float]
) -> tuple[Preprocessing, tuple[str, ...]]:
    """The preprocessing of a file and options, which count before it, and notes for a person.

    Args:
        file: our own JSON, with the options' names as keys; the columns file of a table; Hugging
            Face's `preprocessor_config.json`; or timm's `config.json`; or None.
        asked: values of `resize`, `resampling`, `scale`, `channels`, `mean`, `std` and `layout`,
            as they are written.

    Raises:
        InvalidInput: an unreadable file, one that changes pixels in a way that is not known here,
            or numbers that cannot be what was meant.
    """
    stated = _read(file) if file is not None else _Stated()
    if stated.hub and "scale" in asked:
        raise InvalidInput(
            f"{file} says how values are scaled, and so do its mean and std. Leave out --scale, or "
            "give --mean and --std instead of the file."
        )
    settings = {**stated.settings, **asked}
    scale, channels = _number(settings.get("scale", 1.0), "scale"), settings.get("channels", "rgb")
    found: dict[str, tuple[float, ...]] = {}
    for which in ("mean", "std"):
        numbers = _constants(settings.get(which, ()), which, scale, channels)
        turned = stated.hub and channels == "bgr" and which not in asked  # hubs give red first
        found[which] = numbers[::-1] if turned else numbers
    resize = settings.get("resize")
    made = Preprocessing(
        resize=None if resize is None else _size(resize),
        resampling=settings.get("resampling", "bilinear"),
        scale=scale,
        channels=channels,
        layout=settings.get("layout", "nchw"),
        mean=found["mean"],
        std=found["std"],
        ranges=stated.ranges,
    )
    if "resampling" in asked and not made.resize:
        raise InvalidInput("--resampling says how --resize does it; give --resize HEIGHTxWIDTH.")
    notes = (f"{file}: {stated.left_out}",) if stated.left_out and not made.resize else ()
    return made, notes


def denoiser_in(file: Path | None, asked: str | None = None) -> Denoising | None:
    """The denoiser in front of what `given` makes of a file; or None.

    Args:
        file: as there. The path of a denoiser's file that it names is taken from its own folder.
        asked: the denoiser, which counts before the file's.

    Raises:
        InvalidInput: an unreadable file, or settings that cannot be what was meant.
    """
    settings = _read(file).settings if file is not None else {}
    found = denoising({**settings, "denoiser": asked} if asked is not None else settings)
    if found is None or asked is not None or file is None:
        return found
    reference = ModelReference.parse(found.model)
    if (
        reference.path is None
        or reference.path.is_absolute()
        or reference.path != Path(reference.file)
    ):
        return found
    return replace(found, model=reference.at(file.parent / reference.file).text)


def _read(file: Path) -> _Stated:
    if not file.exists():
        raise InvalidInput(f"There is no file {file}{similar(file)}")
    try:
        content = json.loads(read_regular(file, _MOST_BYTES, InvalidInput))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{file} must hold one JSON object, {{...}}.")
    if is_columns(content):
        return _of_columns(Columns.of(content, file))
    timm = content.get("pretrained_cfg", content if "input_size" in content else None)
    if isinstance(timm, dict):
        return _of_timm(file, timm)
    if any(key.startswith(("image_", "do_", "rescale_", "feature_extractor")) for key in content):
        return _of_hugging_face(file, content)
    known = (*_OWN, *KEYS)
    for key in content:
        if key not in known:
            raise InvalidInput(
                f"{file} has {key!r}, which is not known. It may have {', '.join(known)}"
                f"{did_you_mean(key, known) or '.'}"
            )
    return _Stated(content)


def _of_columns(said: Columns) -> _Stated:
    """To each column's own numbers, then by what the model wants subtracted and divided by."""
    settings: dict[str, Any] = {}
    if any(one.mean for one in said.features):
        settings["mean"] = [one.mean for one in said.features]
    if any(one.std != 1 for one in said.features):
        settings["std"] = [one.std for one in said.features]
    return _Stated(settings, ranges=Ranges.of(said))


def _of_hugging_face(file: Path, content: Mapping[str, Any]) -> _Stated:
    """Rescaled, then normalized: `(255 x rescale_factor - image_mean) / image_std`."""
    known = {
        *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
        *("do_flip_channel_order", *_RESIZES, *_HARMLESS),
    }
    _refuse_others(file, content, known)
    scale = 255.0
    if content.get("do_rescale", True):
        scale = round(255 * _number(content.get("rescale_factor", 1 / 255), "rescale_factor"), 9)
    settings: dict[str, Any] = {"scale": scale}
    if content.get("do_normalize", "image_mean" in content):
        for which in ("mean", "std"):
            if f"image_{which}" not in content:
                raise InvalidInput(
                    f"{file} normalizes, but has no image_{which}: its processor has a default. "
                    "Give --mean and --std instead of the file."
                )
            settings[which] = content[f"image_{which}"]
    if content.get("do_flip_channel_order"):
        if "mean" in settings:
            raise InvalidInput(
                f"{file} swaps channels and normalizes, in an order that is not known. Give "
                "--channels bgr, --mean and --std instead of the file."
            )
        settings["channels"] = "bgr"
    does = [key for key in ("do_resize", "do_center_crop", "do_thumbnail") if content.get(key)]
    sizes = {key: content[key] for key in ("size", "crop_size", "crop_pct") if content.get(key)}
    return _Stated(settings, "Hugging Face", _left_out(does, sizes))


def _of_timm(file: Path, content: Mapping[str, Any]) -> _Stated:
    _refuse_others(file, content, {"mean", "std", *_RESIZES, *_HARMLESS_TIMM})
    settings = {which: content[which] for which in ("mean", "std") if content.get(which)}
    if len(settings) < 2:
        raise InvalidInput(f"{file} has no mean and std. Give --mean and --std instead.")
    keys = ("input_size", "crop_pct", "crop_mode", "interpolation")
    sizes = {key: content[key] for key in keys if content.get(key)}
    return _Stated(settings, "timm", _left_out(["resizes and crops"], sizes))


def _left_out(does: list[str], sizes: Mapping[str, Any]) -> str:
    if not does:
        return ""
    return (
        f"not put in front: {', '.join(does)} ({json.dumps(sizes):.200}). Give inputs of that "
        "size (--size, or files made by that processor)."
    )


def _refuse_others(file: Path, content: Mapping[str, Any], known: set[str]) -> None:
    """Refuse what may change pixels in a way that is not put in front."""
    others = [key for key, value in content.items() if key not in known and value]
    if others:
        raise InvalidInput(
            f"{file} has {', '.join(others[:5])}, which may change pixels and cannot be put in "
            "front. If it does not, give --mean, --std and the other options instead of the file."
        )


def _constants(value: Any, which: str, scale: float, channels: str) -> tuple[float, ...]:
    if isinstance(value, str):
        return constants(value, which, scale, channels)
    numbers = value if isinstance(value, list | tuple) else [value]
    if len(numbers) > _MOST_CHANNELS:
        raise InvalidInput(f"{which} has {many(len(numbers), 'number')}; one per channel is meant.")
    return tuple(_number(one, which) for one in numbers)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{name} must be a number; got {value!r:.60}")
    try:
        return float(value)
    except OverflowError:
        raise InvalidInput(f"{name} must be a number of ordinary size; got {value!r:.20}") from None


def _size(value: Any) -> tuple[int, int]:
    """`224x320`, `224`, 224 or [224, 320] as (height, width)."""
    text = str(value).strip() if isinstance(value, str | int) else ""
    if isinstance(value, list) and len(value) == 2:
        text = "x".join(map(str, value))
    found = re.fullmatch(r"(\d{1,5})(?:\s*[xX×]\s*(\d{1,5}))?", text, re.ASCII)
    if isinstance(value, bool) or not found:
        raise InvalidInput(f"resize is HEIGHTxWIDTH, such as 224x224; got {value!r:.60}")
    return int(found[1]), int(found[2] or found[1])
