"""Weights and updates: safetensors in the fabric's canonical form.

The form is described in docs/protocol/site.md: one model is one byte string, so
that a digest names a model and not an encoding. `read` accepts that form only,
and `write` writes it.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[np.float64]]
"""Tensors by name. They are float64 in memory and F32 on the wire."""

_SIZES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_MAX_HEADER = 16 << 20


class FormError(ValueError):
    """A file that is not in canonical form, or tensors that have none."""


def read(path: str | os.PathLike[str]) -> Weights:
    """Returns the tensors of a file, widened to float64."""
    with open(path, "rb") as file:
        return decode(file.read())


def decode(content: bytes) -> Weights:
    """Returns the tensors of safetensors in canonical form. Raises `FormError`."""
    if len(content) < 8:
        raise FormError("shorter than its own length")
    (size,) = struct.unpack("<Q", content[:8])
    if size > _MAX_HEADER or size > len(content) - 8 or size % 8:
        raise FormError("the header's length is not possible")
    text = content[8 : 8 + size]
    try:
        header = json.loads(text)
        data = memoryview(content)[8 + size :]
        out: Weights = {}
        at = 0
        for name, tensor in header.items():
            first, last = tensor["data_offsets"]
            if first != at or last < first or last > len(data):
                raise FormError(f"{name}: its data has a hole or no room")
            out[name] = _values(data[first:last], tensor["dtype"]).reshape(tensor["shape"])
            at = last
    except FormError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise FormError(f"not safetensors: {cause}") from None
    if at != len(data):
        raise FormError("there is something after the last tensor")
    if text != _header({name: (tensor["dtype"], tensor["shape"]) for name, tensor in header.items()}):
        raise FormError("the header is not in canonical form")
    return out


def write(path: str | os.PathLike[str], tensors: Mapping[str, npt.ArrayLike]) -> None:
    """Writes tensors as F32, in canonical form."""
    content = encode(tensors)
    with open(path, "wb") as file:
        file.write(content)


def encode(tensors: Mapping[str, npt.ArrayLike]) -> bytes:
    """Returns tensors as F32, in canonical form. Raises `FormError`."""
    arrays = {name: np.asarray(tensors[name]).astype("<f4", order="C") for name in sorted(tensors)}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise FormError(f"{name} holds a NaN or an infinity")
    header = _header({name: ("F32", list(array.shape)) for name, array in arrays.items()})
    return struct.pack("<Q", len(header)) + header + b"".join(array.tobytes() for array in arrays.values())


def _values(data: memoryview, dtype: str) -> npt.NDArray[np.float64]:
    """The elements of a tensor, widened exactly."""
    if dtype == "BF16":  # the upper half of an F32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.frombuffer(data, _DTYPES[dtype]).astype(np.float64)


def _header(tensors: Mapping[str, tuple[str, list[int]]]) -> bytes:
    entries, at = {}, 0
    for name in sorted(tensors):
        dtype, shape = tensors[name]
        if not 1 <= len(name) <= 512 or not all(" " <= c <= "~" and c not in '"\\' for c in name) or name == "__metadata__":
            raise FormError(f"{name[:40]!r} is no name of a tensor")
        if len(shape) > 8 or not all(isinstance(n, int) and n > 0 for n in shape):
            raise FormError(f"{name}: shape {shape}")
        end = at + math.prod(shape) * _SIZES[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)
