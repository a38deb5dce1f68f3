#!/usr/bin/env python3
"""Writes vectors.json: byte strings in and out of the fabric's profile of safetensors.

Source: the format description of huggingface/safetensors (8-byte little-endian
header length, JSON header, raw little-endian data), written here with struct
and json and sharing no code with the Go reader. serde_json, which the
reference implementation writes its header with, and json.dumps with these
separators give the same text for these names. What the profile refuses beyond
the format is listed in docs/protocol/site.md.

Run:  python3 generate.py > vectors.json
"""

import json
import struct
import sys

CODE = {"F64": "d", "F32": "f", "F16": "e"}


def pack(dtype, values):
    if dtype == "BF16":  # the upper half of a binary32
        return b"".join(struct.pack("<f", v)[2:] for v in values)
    return struct.pack("<%d%s" % (len(values), CODE[dtype]), *values)


def header(entries):
    return json.dumps(entries, separators=(",", ":")).encode()


def frame(head, data, pad=True):
    if pad:
        head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def model(tensors):
    entries, data = {}, b""
    for name, dtype, shape, values in tensors:
        raw = pack(dtype, values)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return frame(header(entries), data)


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


ONE = b"\0\0\x80\x3f"
good, bad = [], []


def accept(name, tensors):
    good.append({
        "name": name,
        "hex": model(tensors).hex(),
        "tensors": [{"name": n, "dtype": d, "shape": s, "values": v} for n, d, s, v in tensors],
    })


def refuse(name, why, content):
    bad.append({"name": name, "why": why, "hex": content.hex()})


def refuse_text(name, why, head, data=ONE, pad=True):
    refuse(name, why, frame(head.encode() if isinstance(head, str) else head, data, pad))


accept("one scalar", [("a", "F32", [], [1.0])])
accept("a logistic model", [
    ("linear.bias", "F32", [2], [0.5, -0.25]),
    ("linear.weight", "F32", [3, 2], [1.0, -1.0, 0.125, 3.0, 0.0, -0.0]),
    ("normalise.mean", "F32", [3], [14.25, 19.5, 92.0]),
    ("normalise.scale", "F32", [3], [3.5, 4.25, 24.0]),
])
accept("moments in F64", [
    ("moments.mean", "F64", [2], [0.1, 1e300]),
    ("moments.mean_square", "F64", [2], [5e-324, 2.0]),
])
accept("F32 extremes", [("x", "F32", [3], [1.401298464324817e-45, 3.4028234663852886e38, -1.17549435e-38])])
good[-1]["tensors"][0]["values"][2] = struct.unpack("<f", struct.pack("<f", -1.17549435e-38))[0]
accept("half precision", [
    ("b", "BF16", [4], [1.0, -2.5, 0.0, 3.3895313892515355e38]),
    ("h", "F16", [5], [1.0, -0.5, 65504.0, 5.960464477539063e-08, 6.103515625e-05]),
])
accept("eight dimensions", [("d8", "F32", [1, 2, 1, 1, 1, 1, 1, 1], [7.0, 8.0])])
accept("types side by side, by name", [("a", "F16", [1], [1.0]), ("b", "F64", [1], [2.0]), ("c", "F32", [1], [3.0])])

plain = frame(header({"a": entry()}), ONE)
refuse("empty file", "truncated", b"")
refuse("shorter than the length", "truncated", plain[:7])
for n, label in [(0, "0"), (16 * 2**20 + 8, "over 16 MiB"), (2**63, "2^63"), (2**64 - 1, "2^64-1"), (9, "not a multiple of 8")]:
    refuse("header length " + label, "header-length", struct.pack("<Q", n) + plain[8:])
refuse("header longer than the file", "truncated", struct.pack("<Q", 4096) + plain[8:])
refuse("data cut short", "truncated", plain[:-1])
refuse("no data", "truncated", plain[:-4])
refuse("a byte after the last tensor", "tail", plain + b"\0")
refuse("a zip after the last tensor", "tail", plain + b"PK\x03\x04")
refuse_text("space before the brace", "header", b" " + header({"a": entry()}))
refuse_text("an array", "header", '[{"a":1}]')
refuse_text("no tensor", "header", "{}     ")
refuse_text("not UTF-8", "name", b'{"\xff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
refuse_text("padding of NUL", "header", header({"a": entry()}).ljust(56, b"\0"), pad=False)
refuse_text("padding of newline", "header", header({"a": entry()}).ljust(56, b"\n"), pad=False)
refuse_text("more padding than needed", "header", header({"a": entry()}).ljust(64, b" "), pad=False)
refuse_text("white space between tokens", "header", json.dumps({"a": entry()}))
one = header({"a": entry()})[1:-1]
refuse_text("a tensor twice", "order", b"{" + one + b"," + one + b"}")
refuse_text("tensors out of order", "order", header({"b": entry(), "a": entry(offsets=(4, 8))}), ONE + ONE)
refuse_text("a field twice", "header", '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
refuse_text("fields in another order", "header", '{"a":{"shape":[1],"dtype":"F32","data_offsets":[0,4]}}')
refuse_text("unknown field", "header", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}')
refuse_text("missing field", "header", '{"a":{"dtype":"F32","data_offsets":[0,4]}}')
refuse_text("field in another case", "header", '{"a":{"DType":"F32","shape":[1],"data_offsets":[0,4]}}')
for dtype in ("I64", "U8", "BOOL", "F8_E4M3", "f32", "", "C64"):
    refuse_text("dtype %r" % dtype, "dtype", header({"a": entry(dtype)}))
refuse_text("dtype null", "header", '{"a":{"dtype":null,"shape":[1],"data_offsets":[0,4]}}')
for number in ("-1", "1.0", "1e0", "01", "+1", "9223372036854775808", '"1"', "[1]", "1 ", ""):
    why = "header"
    refuse_text("dimension " + repr(number), why, '{"a":{"dtype":"F32","shape":[%s,1],"data_offsets":[0,4]}}' % number)
refuse_text("offset -0", "header", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}')
refuse_text("three offsets", "header", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}')
refuse_text("begin after end", "layout", header({"a": entry(offsets=(4, 0))}))
refuse_text("overlap", "layout", header({"a": entry(), "b": entry()}))
refuse_text("hole", "layout", header({"a": entry(), "b": entry(offsets=(8, 12))}), ONE * 3)
refuse_text("data does not start at 0", "layout", header({"a": entry(offsets=(4, 8))}), ONE * 2)
refuse_text("begin inside the tensor before", "layout", header({"a": entry(), "b": entry(offsets=(2, 8))}), ONE * 2)
refuse_text("range larger than the shape", "layout", header({"a": entry(offsets=(0, 8))}), ONE * 2)
refuse_text("range smaller than the shape", "layout", header({"a": entry(shape=(2,))}))
refuse_text("product overflows", "shape", header({"a": entry(shape=(2**32, 2**32))}))
refuse_text("product overflows to the range", "shape", header({"a": entry(shape=(2**33, 2**31, 1))}))
refuse_text("nine dimensions", "shape", header({"a": entry(shape=(1,) * 9)}))
refuse_text("zero-size tensor", "shape", header({"a": entry(shape=(0,), offsets=(0, 0))}), b"")
refuse_text("empty name", "name", header({"": entry()}))
refuse_text("name of 513 bytes", "name", header({"a" * 513: entry()}))
refuse_text("control character in a name", "name", b'{"a\x01":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
refuse_text("NUL in a name", "name", b'{"a\x00":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
refuse_text("escape in a name", "name", '{"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
refuse_text("bidirectional override in a name", "name", '{"a\u202e":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
refuse_text("metadata", "name", '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
refuse_text("metadata that is no string", "name", '{"__metadata__":{"format":1},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
refuse_text("deep nesting", "header", '{"a":' + "[" * 5000)
refuse_text("comma after the last tensor", "header", header({"a": entry()})[:-1] + b",}")
refuse_text("text after the brace", "header", header({"a": entry()}) + b"{}")
refuse("a pickle", "header-length", b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.")
refuse("a zip", "header-length", b"PK\x03\x04\x14\x00\x00\x00\x08\x00data.pkl")

json.dump({
    "source": "tests/vectors/safetensors/generate.py: python3 struct and json, after the format description of huggingface/safetensors",
    "accepted": good,
    "refused": bad,
}, sys.stdout, indent=1)
sys.stdout.write("\n")
