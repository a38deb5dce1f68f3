"""An operator's own training program for a model that is larger than memory.

It moves every weight by a rule that a test can work out for any of them: by
-1/64 of itself, and by a constant that depends on the site. It reads and writes
a few megabytes at a time.
"""
import json
import os
import struct

import numpy

CHUNK = 1 << 20  # values
SITE = int(os.environ["SM_HP_SITE"].rsplit("-", 1)[1])


def header(f):
    """The header of safetensors, and where the data begins."""
    (n,) = struct.unpack("<Q", f.read(8))
    return json.loads(f.read(n)), 8 + n


def main():
    weights = os.path.join(os.environ["SM_CHANNEL_MODEL"], "weights.safetensors")
    update = os.path.join(os.environ["SM_MODEL_DIR"], "update.safetensors")
    with open(weights, "rb") as src, open(update, "wb") as dst:
        tensors, begin = header(src)
        trainable = sorted(name for name in tensors if not name.startswith("normalise."))
        text, at = "", 0
        for name in trainable:
            size = tensors[name]["data_offsets"][1] - tensors[name]["data_offsets"][0]
            shape = ",".join(str(d) for d in tensors[name]["shape"])
            text += ',"%s":{"dtype":"F32","shape":[%s],"data_offsets":[%d,%d]}' % (name, shape, at, at + size)
            at += size
        text = "{" + text[1:] + "}"
        text += " " * (-len(text) % 8)
        dst.write(struct.pack("<Q", len(text)) + text.encode())
        for name in trainable:
            first, last = tensors[name]["data_offsets"]
            src.seek(begin + first)
            left = (last - first) // 4
            while left > 0:
                values = numpy.fromfile(src, dtype="<f4", count=min(left, CHUNK))
                left -= len(values)
                (values * numpy.float32(-1 / 64) + numpy.float32(SITE / 1024)).tofile(dst)
    with open(os.path.join(os.environ["SM_CHANNEL_TRAINING"], "training.csv")) as f:
        examples = sum(1 for _ in f) - 1
    with open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "metrics.json"), "w") as f:
        json.dump({"examples": examples, "evaluated": 0, "correct": 0, "lossMicros": 0}, f)


main()
