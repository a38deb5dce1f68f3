#!/usr/bin/env python3
"""Writes protocol.json: one small secure aggregation, worked out again from
docs/protocol/secagg.md without any of the product's code.

Source of the parts: SHA-256, HMAC (HKDF is RFC 5869 over it) and big numbers
are Python's; X25519 is RFC 7748's ladder; P-256 is textbook arithmetic; AES is
the openssl command's (enc -aes-128-ctr, -aes-256-ctr, -aes-256-ecb), GCM's
GHASH is NIST SP 800-38D's. The self tests at the end are published vectors.

    python3 generate.py > protocol.json
"""
import hashlib, hmac, json, subprocess

PROTOCOL = b"fabric-secagg/1"


def u64(n):
    return n.to_bytes(8, "big")


def field(b):
    return u64(len(b)) + b


def numbers(ns):
    return u64(len(ns)) + b"".join(u64(n) for n in ns)


def sha(purpose, *parts):
    return hashlib.sha256(field(PROTOCOL) + field(purpose.encode()) + b"".join(parts)).digest()


def hkdf(secret, info, size):
    prk = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    out, block = b"", b""
    while len(out) < size:
        block = hmac.new(prk, block + info + bytes([len(out) // 32 + 1]), hashlib.sha256).digest()
        out += block
    return out[:size]


def derive(secret, purpose, context, start, end, size):
    return hkdf(secret, PROTOCOL + b"\0" + purpose.encode() + b"\0" + context + u64(start) + u64(end), size)


def openssl(cipher, key, data, iv=None):
    cmd = ["openssl", "enc", "-e", "-" + cipher, "-K", key.hex(), "-nopad", "-nosalt"]
    if iv is not None:
        cmd += ["-iv", iv.hex()]
    return subprocess.run(cmd, input=data, capture_output=True, check=True).stdout


def ctr(key, size):
    return openssl("aes-%d-ctr" % (8 * len(key)), key, bytes(size), bytes(16))


def gcm(key, nonce, plain, aad):
    block = lambda b: openssl("aes-256-ecb", key, b)
    h = int.from_bytes(block(bytes(16)), "big")

    def times(x, y):
        z = 0
        for i in range(127, -1, -1):
            if x >> i & 1:
                z ^= y
            y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
        return z

    stream = b"".join(block(nonce + i.to_bytes(4, "big")) for i in range(1, 2 + -(-len(plain) // 16)))
    sealed = bytes(a ^ b for a, b in zip(plain, stream[16:]))
    pad = lambda b: b + bytes(-len(b) % 16)
    text = pad(aad) + pad(sealed) + u64(8 * len(aad)) + u64(8 * len(sealed))
    y = 0
    for i in range(0, len(text), 16):
        y = times(y ^ int.from_bytes(text[i : i + 16], "big"), h)
    return sealed + bytes(a ^ b for a, b in zip(y.to_bytes(16, "big"), stream[:16]))


def x25519(k, u):
    p = 2**255 - 19
    k = bytearray(k)
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k, x1 = int.from_bytes(k, "little"), int.from_bytes(u, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        if swap ^ (k >> t & 1):
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = k >> t & 1
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, (aa - bb) * (aa + 121665 * (aa - bb)) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


BASE = (9).to_bytes(32, "little")


def p256(k):
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    g = (
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    )

    def plus(a, b):
        if a is None or b is None:
            return a or b
        if a[0] == b[0]:
            if (a[1] + b[1]) % p == 0:
                return None
            m = (3 * a[0] * a[0] - 3) * pow(2 * a[1], p - 2, p)
        else:
            m = (b[1] - a[1]) * pow(b[0] - a[0], p - 2, p)
        x = (m * m - a[0] - b[0]) % p
        return x, (m * (a[0] - x) - a[1]) % p

    out = None
    while k:
        if k & 1:
            out = plus(out, g)
        g, k = plus(g, g), k >> 1
    return b"\4" + out[0].to_bytes(32, "big") + out[1].to_bytes(32, "big")


PRIME = 2**61 - 1


def limbs(secret):
    n = int.from_bytes(secret, "little")
    return [n >> 52 * i & (2**52 - 1) for i in range(5)]


def polynomial(secret, threshold, key):
    stream = ctr(key, 16 * 5 * (threshold - 1))
    draws = [int.from_bytes(stream[i : i + 16], "little") % PRIME for i in range(0, len(stream), 16)]
    return [limbs(secret)] + [draws[5 * i : 5 * i + 5] for i in range(threshold - 1)]


def share(poly, x):
    values = [sum(c[j] * pow(x, i, PRIME) for i, c in enumerate(poly)) % PRIME for j in range(5)]
    return b"".join(v.to_bytes(8, "little") for v in values)


def play(name, ring, length, vectors, dead):
    n, size = 4, ring // 8
    threshold = 2 * n // 3 + 1
    plan = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
    spec = {"run": "run-" + name, "round": 7, "plan": plan, "group": "eu", "ring": ring, "length": length, "corruptBp": 500, "droppedBp": 1000}
    bound = sha(
        "spec", field(spec["run"].encode()), u64(7), field(plan.encode()), field(b"eu"), u64(ring), u64(length), u64(500), u64(1000)
    )
    sites = []
    for i in range(n):
        secret = hashlib.sha256(b"round secret %d" % i).digest()
        identity = int.from_bytes(hashlib.sha256(b"identity %d" % i).digest(), "big") >> 1
        s = {"tenant": "t%d" % (i // 2), "site": "s%d" % i, "secret": secret, "identityKey": identity.to_bytes(32, "big")}
        s["identity"] = p256(identity)
        s["c"], s["m"], s["b"] = (derive(secret, what, bound, 0, 0, 32) for what in ("cipher key", "mask key", "self-mask seed"))
        s["cipherKey"], s["maskKey"] = x25519(s["c"], BASE), x25519(s["m"], BASE)
        s["commitment"] = sha("self-mask commitment", field(bound), field(s["b"]))
        s["entry"] = sha(
            "advertisement", field(bound), field(s["tenant"].encode()), field(s["site"].encode()), field(s["identity"]),
            field(s["cipherKey"]), field(s["maskKey"]), field(s["commitment"]),
        )
        sites.append(s)
    roster = sha("roster", field(bound), u64(n), *(field(s["entry"]) for s in sites))
    for s in sites:
        s["polynomials"] = [
            polynomial(s[secret], threshold, derive(s["secret"], what, roster, 0, 0, 32))
            for secret, what in (("b", "seed polynomial"), ("m", "key polynomial"))
        ]
    for i, s in enumerate(sites, 1):
        s["boxes"] = []
        for j, peer in enumerate(sites, 1):
            if i != j:
                key = derive(x25519(s["c"], peer["cipherKey"]), "box", roster, i, j, 44)
                plain = b"".join(share(p, j) for p in s["polynomials"])
                s["boxes"].append(gcm(key[:32], key[32:], plain, sha("box", field(roster), u64(i), u64(j))))
        masks = [(derive(s["b"], "self-mask", roster, i, i, 16), 1)]
        for j, peer in enumerate(sites, 1):
            if i != j:
                key = derive(x25519(s["m"], peer["maskKey"]), "pair mask", roster, min(i, j), max(i, j), 16)
                masks.append((key, 1 if i < j else -1))
        y = list(vectors[i - 1])
        for key, sign in masks:
            stream = ctr(key, size * length)
            for e in range(length):
                y[e] = (y[e] + sign * int.from_bytes(stream[size * e : size * e + size], "little")) % 2**ring
        s["masked"] = b"".join(e.to_bytes(size, "little") for e in y)
    participants = list(range(1, n + 1))
    survivors = [i for i in participants if i not in dead]
    return {
        "name": name,
        "spec": spec,
        "sites": [
            {k: s[k] if isinstance(s[k], str) else s[k].hex() for k in ("tenant", "site", "secret", "identityKey", "identity", "cipherKey", "maskKey", "commitment", "masked")}
            | {"vector": [str(e) for e in vectors[i]], "boxes": [b.hex() for b in s["boxes"]]}
            for i, s in enumerate(sites)
        ],
        "roster": "sha256:" + roster.hex(),
        "survivors": survivors,
        "set": "sha256:" + sha("survivors", field(bound), field(roster), numbers(participants), numbers(survivors)).hex(),
        "shares": [
            {"of": i, "holder": j, "kind": "key" if i in dead else "seed", "share": share(s["polynomials"][i in dead], j).hex()}
            for i, s in enumerate(sites, 1)
            for j in survivors
        ],
        "sum": [str(sum(vectors[i - 1][e] for i in survivors) % 2**ring) for e in range(length)],
    }


def shamir():
    secret = bytes(range(200, 232))
    poly = [limbs(secret)] + [[(i + 1) * 10**17 + j for j in range(5)] for i in range(2)]
    holders = [1, 4, 9]
    weights = []
    for h in holders:
        w = 1
        for o in holders:
            if o != h:
                w = w * o * pow(o - h, PRIME - 2, PRIME) % PRIME
        weights.append(w)
    return {
        "secret": secret.hex(),
        "coefficients": [[str(v) for v in c] for c in poly],
        "shares": [{"holder": x, "share": share(poly, x).hex()} for x in (1, 2, 4, 9, 1000)],
        "holders": holders,
        "weights": [str(w) for w in weights],
        "products": [
            {"a": str(a), "b": str(b), "product": str(a * b % PRIME), "sum": str((a + b) % PRIME), "difference": str((a - b) % PRIME)}
            for a, b in ((0, PRIME - 1), (PRIME - 1, PRIME - 1), (2**60, 2**60 + 12345), (123456789012345678, 2**61 - 2))
        ],
        "wide": [{"hi": str(h), "lo": str(l), "value": str((h * 2**64 + l) % PRIME)} for h, l in ((2**64 - 1, 2**64 - 1), (0, PRIME), (1, 0), (2**61, 2**63 + 5))],
    }


def self_test():
    # RFC 7748, section 5.2: one iteration from k = u = 9.
    assert x25519(BASE, BASE).hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    # RFC 5869, test case 3: neither salt nor info.
    assert hkdf(b"\x0b" * 22, b"", 42).hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    # The GCM specification of McGrew and Viega, test case 16.
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308") * 2
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    assert gcm(key, bytes.fromhex("cafebabefacedbaddecaf888"), plain, aad).hex().endswith("76fc6ece0f4e1768cddf8853bb2d551b")
    # FIPS 186 key pair of RFC 6979, A.2.5.
    k = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    assert p256(k).hex() == (
        "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
    )


self_test()
print(
    json.dumps(
        {
            "source": "tests/vectors/secagg/generate.py",
            "plays": [
                play("complete", 32, 9, [[(i * 7919 + e * 104729) ** 3 % 2**32 for e in range(9)] for i in range(4)], []),
                play("dropped", 64, 5, [[(i * 7919 + e * 104729) ** 5 % 2**64 for e in range(5)] for i in range(4)], [3]),
            ],
            "shamir": shamir(),
            "masks": [{"key": bytes(range(16)).hex(), "stream": ctr(bytes(range(16)), 96).hex()}],
        },
        indent=1,
    )
)
