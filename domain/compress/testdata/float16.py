# Writes float16.txt: bits of an F32, and of numpy's float16 of it, in hex.
# Midpoints of neighbouring halves and what is next to them, the smallest and
# the largest, and random bits. Run with numpy 1.24.
import numpy as np

np.seterr(all="ignore")
halves = np.arange(0, 0x7c00, 149, dtype=np.uint16)
halves = np.unique(np.concatenate([halves, np.array([0, 1, 2, 3, 0x3fe, 0x3ff, 0x400, 0x401, 0x7bfe, 0x7bff], np.uint16)]))
low = halves.view(np.float16).astype(np.float64)
high = np.where(halves < 0x7bff, (halves + 1).astype(np.uint16).view(np.float16).astype(np.float64), 65536.0)
mid = ((low + high) / 2).astype(np.float32).view(np.uint32)
rng = np.random.default_rng(1)
bits = np.concatenate([mid, mid - 1, mid + 1, low.astype(np.float32).view(np.uint32),
                       np.array([1, 2, 0x32ffffff, 0x33000000, 0x33000001, 0x477fefff, 0x477ff000, 0x7f7fffff], np.uint32),
                       rng.integers(0x30000000, 0x48000000, 400, dtype=np.uint32)])
bits = np.unique(np.concatenate([bits, bits | np.uint32(0x80000000)]))
with open("float16.txt", "w") as out:
    for b, h in zip(bits, bits.view(np.float32).astype(np.float16).view(np.uint16)):
        out.write(f"{b:08x} {h:04x}\n")
