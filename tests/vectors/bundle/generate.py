"""Writes vectors.json: Sigstore bundles that a verifier of the fabric accepts or refuses.

Source: made here with the Python package "cryptography" (RFC 6979 nonces, so that a second run writes the same bytes)
after the Sigstore bundle v0.3, DSSE v1.0 and in-toto Statement v1 specifications. No code of the fabric takes part.
Every case is asked for the predicate type and the subject at the top of the file, with the one trusted key.
"why" is the reason of a refusal: size, form, untrusted, statement, predicate-type or subject; empty means accepted.
The blobs are bundles as cosign sign-blob writes them, asked for the bytes "the blob"; their reasons: form, untrusted, digest.
"""

import base64
import hashlib
import json
import pathlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # order of P-256
TYPE = "https://github.com/atom-fabric/fabric/predicates/approval/v1"
IN_TOTO = "application/vnd.in-toto+json"
SUBJECT = hashlib.sha256(b"the plan").hexdigest()
MEDIA = "application/vnd.dev.sigstore.bundle.v0.3+json"

trusted = ec.derive_private_key(0x1001, ec.SECP256R1())
stranger = ec.derive_private_key(0x1002, ec.SECP256R1())
p384 = ec.derive_private_key(0x1003, ec.SECP384R1())


def spki(key, encoding):
    return key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def pem(key):
    return spki(key, serialization.Encoding.PEM).decode()


def pae(kind, payload):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def sign(payload, key=trusted, kind=IN_TOTO, digest=hashes.SHA256()):
    return key.sign(pae(kind, payload), ec.ECDSA(digest, deterministic_signing=True))


def b64(raw):
    return base64.b64encode(raw).decode()


def encode(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def statement(**change):
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "plan", "digest": {"sha256": SUBJECT}}],
        "predicateType": TYPE,
        "predicate": {"decision": "approve"},
    }
    value.update(change)
    return value


def subject(digest, name="plan"):
    return [{"name": name, "digest": digest}]


def bundle(payload=None, sig=None, key=trusted):
    payload = encode(statement()) if payload is None else payload
    sig = sign(payload, key) if sig is None else sig
    hint = b64(hashlib.sha256(spki(key, serialization.Encoding.DER)).digest())
    return {
        "mediaType": MEDIA,
        "verificationMaterial": {"publicKey": {"hint": hint}},
        "dsseEnvelope": {"payload": b64(payload), "payloadType": IN_TOTO, "signatures": [{"sig": b64(sig)}]},
    }


cases = []


def case(name, why, value):
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    cases.append({"name": name, "why": why, "bundle": text})


def changed(change):
    value = bundle()
    change(value)
    return value


def set_at(*path):
    *way, last, new = path

    def change(value):
        for key in way:
            value = value[key]
        if new is None:
            del value[last]
        else:
            value[last] = new

    return changed(change)


def says(name, why, **change):
    case(name, why, bundle(encode(statement(**change))))


def says_raw(name, why, text):
    case(name, why, bundle(text.encode()))


good = bundle()
plain = json.dumps(good, separators=(",", ":"))
payload = encode(statement())
r, s = utils.decode_dss_signature(sign(payload))

# What is accepted.
case("as the fabric writes it", "", good)
case("white space around", "", "\n " + json.dumps(good, indent=2) + "\n")
says("statement v0.1, as the cosign command line writes it", "", _type="https://in-toto.io/Statement/v0.1")
says("subject without a name", "", subject=subject({"sha256": SUBJECT}, ""))
case("wrong hint", "", set_at("verificationMaterial", "publicKey", "hint", "bm9ib2R5"))
case("empty hint", "", set_at("verificationMaterial", "publicKey", {}))
case("empty keyid", "", set_at("dsseEnvelope", "signatures", 0, "keyid", ""))
case("malleated signature (r, n-s)", "", bundle(sig=utils.encode_dss_signature(r, N - s)))
case("empty list of log entries", "", set_at("verificationMaterial", "tlogEntries", []))
case("a log entry that is none", "", set_at("verificationMaterial", "tlogEntries", [{"logIndex": "7"}]))

# Who signed.
case("another key", "untrusted", bundle(key=stranger))
case("another key under the trusted key's hint", "untrusted", bundle(sig=sign(payload, stranger)))
case("P-384", "untrusted", bundle(sig=sign(payload, p384, digest=hashes.SHA384()), key=p384))
case("Ed25519", "untrusted", bundle(sig=ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).sign(pae(IN_TOTO, payload))))
case("signature of another payload", "untrusted", bundle(sig=sign(encode(statement(predicate={"decision": "reject"})))))
case("signature over the payload without its type", "untrusted", bundle(sig=trusted.sign(payload, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))))
case("signature for another payload type", "untrusted", bundle(sig=sign(payload, kind="application/json")))
case("payload in other words of the same meaning", "untrusted", set_at("dsseEnvelope", "payload", b64(json.dumps(statement()).encode())))
case("r = s = 0", "untrusted", bundle(sig=bytes.fromhex("3006020100020100")))
case("empty signature", "untrusted", bundle(sig=b""))
case("bytes after the DER signature", "untrusted", bundle(sig=sign(payload) + b"\0"))
case("r || s instead of DER", "untrusted", bundle(sig=r.to_bytes(32, "big") + s.to_bytes(32, "big")))

# The form of the bundle.
case("empty", "form", "")
case("no object", "form", "[]")
case("null", "form", "null")
case("cut", "form", plain[:-1])
case("data after the end", "form", plain + "{}")
case("text after the end", "form", plain + "x")
case("two bundles, one a line", "form", plain + "\n" + plain)
case("unknown key", "form", set_at("note", "x"))
case("unknown key in the envelope", "form", set_at("dsseEnvelope", "note", "x"))
case("unknown key in a signature", "form", set_at("dsseEnvelope", "signatures", 0, "note", "x"))
case("duplicate media type", "form", plain[:-1] + ',"mediaType":"%s"}' % MEDIA)
case("duplicate envelope", "form", plain[:-1] + ',"dsseEnvelope":%s}' % json.dumps(good["dsseEnvelope"]))
case("key in another case", "form", plain.replace('"payload"', '"Payload"'))
case("field names of the proto file", "form", plain.replace('"mediaType"', '"media_type"'))
case("no media type", "form", set_at("mediaType", None))
case("media type v0.1", "form", set_at("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.1"))
case("media type v0.2", "form", set_at("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.2"))
case("media type v0.3 in its first spelling", "form", set_at("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.3"))
case("media type v0.4", "form", set_at("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json"))
case("no verification material", "form", set_at("verificationMaterial", None))
case("no public key", "form", set_at("verificationMaterial", {}))
case("a certificate instead of a key", "form", set_at("verificationMaterial", {"certificate": {"rawBytes": "MAA="}}))
case("a certificate beside the key", "form", set_at("verificationMaterial", "certificate", {"rawBytes": "MAA="}))
case("a certificate chain", "form", set_at("verificationMaterial", {"x509CertificateChain": {"certificates": []}}))
case("no envelope", "form", set_at("dsseEnvelope", None))
case("a message signature instead", "form", {
    "mediaType": MEDIA,
    "verificationMaterial": good["verificationMaterial"],
    "messageSignature": {
        "messageDigest": {"algorithm": "SHA2_256", "digest": b64(bytes.fromhex(SUBJECT))},
        "signature": b64(trusted.sign(b"the plan", ec.ECDSA(hashes.SHA256(), deterministic_signing=True))),
    },
})
case("both contents", "form", set_at("messageSignature", {"messageDigest": {"algorithm": "SHA2_256", "digest": b64(bytes.fromhex(SUBJECT))}, "signature": b64(sign(payload))}))
case("no signature", "form", set_at("dsseEnvelope", "signatures", []))
case("the same signature twice", "form", set_at("dsseEnvelope", "signatures", good["dsseEnvelope"]["signatures"] * 2))
case("a stranger's signature first", "form", set_at("dsseEnvelope", "signatures", [{"sig": b64(sign(payload, stranger))}, {"sig": b64(sign(payload))}]))
case("another payload type", "form", set_at("dsseEnvelope", "payloadType", "application/json"))
case("no payload type", "form", set_at("dsseEnvelope", "payloadType", None))
case("payload is no base64", "form", set_at("dsseEnvelope", "payload", "{}"))
padded = encode(statement(subject=subject({"sha256": SUBJECT}, "plans" if len(payload) % 3 == 0 else "plan")))
assert b64(padded).endswith("=")
case("payload without padding", "form", json.dumps(bundle(padded)).replace(b64(padded), b64(padded).rstrip("=")))
case("signature in the URL alphabet", "form", set_at("dsseEnvelope", "signatures", 0, "sig", base64.urlsafe_b64encode(sign(payload)).decode()))
case("line break in the payload", "form", set_at("dsseEnvelope", "payload", b64(payload)[:8] + "\n" + b64(payload)[8:]))
case("payload is a number", "form", set_at("dsseEnvelope", "payload", 1))
case("nested 100 deep", "form", set_at("verificationMaterial", "tlogEntries", json.loads("[" * 100 + "]" * 100)))

# The statement, signed by the trusted key.
says("unknown _type", "statement", _type="https://in-toto.io/Statement/v2")
says("no _type", "statement", _type="")
says("no subject", "statement", subject=[])
says("two subjects", "statement", subject=subject({"sha256": SUBJECT}) + subject({"sha256": "0" * 64}))
says("the same subject twice", "statement", subject=subject({"sha256": SUBJECT}) * 2)
says("sha1 only", "statement", subject=subject({"sha1": "a" * 40}))
says("sha1 beside sha256", "statement", subject=subject({"sha256": SUBJECT, "sha1": "a" * 40}))
says("md5 only", "statement", subject=subject({"md5": "a" * 32}))
says("no digest", "statement", subject=subject({}))
says("upper-case digest", "statement", subject=subject({"sha256": SUBJECT.upper()}))
says("digest one digit short", "statement", subject=subject({"sha256": SUBJECT[:-1]}))
says("digest one digit long", "statement", subject=subject({"sha256": SUBJECT + "0"}))
says("digest with its algorithm", "statement", subject=subject({"sha256": "sha256:" + SUBJECT}))
says("name with an escape sequence", "statement", subject=subject({"sha256": SUBJECT}, "\x1b[2J"))
says("name that turns the text around", "statement", subject=subject({"sha256": SUBJECT}, "\u202etxet"))
says("name of 513 bytes", "statement", subject=subject({"sha256": SUBJECT}, "n" * 513))
says("no predicate type", "statement", predicateType="")
says("predicate is a list", "statement", predicate=[])
says("predicate is null", "statement", predicate=None)
says("unknown key in the statement", "statement", note="x")
says("unknown key in the subject", "statement", subject=[{"name": "plan", "digest": {"sha256": SUBJECT}, "uri": "x"}])
text = payload.decode()
says_raw("duplicate predicate", "statement", text[:-1] + ',"predicate":{"decision":"reject"}}')
says_raw("predicate type in another case", "statement", text[:-1] + ',"PredicateType":"%s"}' % TYPE)
says_raw("duplicate key in the predicate", "statement", text.replace('{"decision":"approve"}', '{"decision":"reject","decision":"approve"}'))
says_raw("data after the statement", "statement", text + "{}")
says_raw("NaN in the predicate", "statement", text.replace('"approve"', "NaN"))
says_raw("number beyond a float64", "statement", text.replace('"approve"', "1e400"))
says_raw("half a surrogate pair", "statement", text.replace('"approve"', '"\\ud800"'))
says_raw("no statement", "statement", "approve")
says_raw("empty payload", "statement", "")
case("payload is not UTF-8", "statement", bundle(text.encode().replace(b"approve", b"\xff")))

# What it says.
says("another predicate type", "predicate-type", predicateType=TYPE.replace("approval", "promotion"))
says("predicate type with a longer version", "predicate-type", predicateType=TYPE + "0")
says("cosign's own type for images", "predicate-type", predicateType="https://sigstore.dev/cosign/sign/v1")
says("another subject", "subject", subject=subject({"sha256": hashlib.sha256(b"another plan").hexdigest()}))

other = {
    "a certificate": "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    "P-384": pem(p384),
    "Ed25519": pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))),
    "RSA": "-----BEGIN PUBLIC KEY-----\n" + "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC7JHoJfg6yNzLMOWet8Z49a4KD0dCspMAYvo2YAMB7/wdEycocujbhJ2n/seONi+5XqTqqFkM5VBl8rmkkFPZk/7x0xmdsTPECSWnHK+HhoaNDFPR3j8jQhVo1laxiqcEhAHegi5cwtFosuJAvSKAFKEvyD43si00DQnXWrYHAEQIDAQAB\n" + "-----END PUBLIC KEY-----\n",
    "two keys": pem(trusted) + pem(stranger),
    "text before the key": "key:\n" + pem(trusted),
    "text after the key": pem(trusted) + "x",
    "a private key": "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
    "PEM headers": pem(trusted).replace("KEY-----\n", "KEY-----\nNote: x\n\n", 1),
    "bytes after the key in DER": "-----BEGIN PUBLIC KEY-----\n" + b64(spki(trusted, serialization.Encoding.DER) + b"\0") + "\n-----END PUBLIC KEY-----\n",
    "empty": "",
}

# Bare signatures over bytes.
BLOB = b"the blob"
blobs = []


def blob(name, why, value):
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    blobs.append({"name": name, "why": why, "bundle": text})


def signed_blob(sig=None, claimed=None, algorithm="SHA2_256", **material):
    sig = trusted.sign(BLOB, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)) if sig is None else sig
    claimed = hashlib.sha256(BLOB).digest() if claimed is None else claimed
    return {
        "mediaType": MEDIA,
        "verificationMaterial": dict({"publicKey": {"hint": good["verificationMaterial"]["publicKey"]["hint"]}}, **material),
        "messageSignature": {"messageDigest": {"algorithm": algorithm, "digest": b64(claimed)}, "signature": b64(sig)},
    }


def over(content, key=trusted, digest=hashes.SHA256()):
    return key.sign(content, ec.ECDSA(digest, deterministic_signing=True))


def blob_with(*path):
    *way, last, new = path
    value = signed_blob()
    at = value
    for step in way:
        at = at[step]
    if new is None:
        del at[last]
    else:
        at[last] = new
    return value


br, bs = utils.decode_dss_signature(over(BLOB))
bare = json.dumps(signed_blob(), separators=(",", ":"))
blob("as cosign writes it", "", signed_blob())
blob("white space around", "", "\n" + json.dumps(signed_blob(), indent=1) + "\n")
blob("wrong hint", "", blob_with("verificationMaterial", "publicKey", "hint", "bm9ib2R5"))
blob("malleated signature (r, n-s)", "", signed_blob(utils.encode_dss_signature(br, N - bs)))
blob("a log entry that is none", "", signed_blob(tlogEntries=[{"logIndex": "7"}]))
blob("another key", "untrusted", signed_blob(over(BLOB, stranger)))
blob("another key, with a log entry", "untrusted", signed_blob(over(BLOB, stranger), tlogEntries=[{"logIndex": "7"}]))
blob("P-384", "untrusted", signed_blob(over(BLOB, p384, hashes.SHA384())))
blob("Ed25519", "untrusted", signed_blob(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).sign(BLOB)))
blob("signature of other bytes under the right digest", "untrusted", signed_blob(over(b"another blob")))
blob("signature of the digest instead of the bytes", "untrusted", signed_blob(over(hashlib.sha256(BLOB).digest())))
blob("signature of a statement", "untrusted", signed_blob(sign(payload)))
blob("r = s = 0", "untrusted", signed_blob(bytes.fromhex("3006020100020100")))
blob("empty signature", "untrusted", signed_blob(b""))
blob("bytes after the DER signature", "untrusted", signed_blob(over(BLOB) + b"\0"))
blob("r || s instead of DER", "untrusted", signed_blob(br.to_bytes(32, "big") + bs.to_bytes(32, "big")))
blob("false messageDigest under a good signature", "digest", signed_blob(claimed=hashlib.sha256(b"another blob").digest()))
blob("other bytes, digest and signature alike", "digest", signed_blob(over(b"another blob"), hashlib.sha256(b"another blob").digest()))
blob("SHA2_384 under a sha256 digest", "form", signed_blob(algorithm="SHA2_384"))
blob("SHA2_512", "form", signed_blob(claimed=hashlib.sha512(BLOB).digest(), algorithm="SHA2_512"))
blob("algorithm in another case", "form", signed_blob(algorithm="sha2_256"))
blob("algorithm as a number", "form", blob_with("messageSignature", "messageDigest", "algorithm", 1))
blob("no algorithm", "form", blob_with("messageSignature", "messageDigest", "algorithm", None))
blob("no digest", "form", blob_with("messageSignature", "messageDigest", "digest", None))
blob("no messageDigest", "form", blob_with("messageSignature", "messageDigest", None))
blob("messageDigest is null", "form", bare.replace(json.dumps(signed_blob()["messageSignature"]["messageDigest"], separators=(",", ":")), "null"))
blob("digest one byte short", "form", signed_blob(claimed=hashlib.sha256(BLOB).digest()[:-1]))
blob("digest in hex", "form", blob_with("messageSignature", "messageDigest", "digest", hashlib.sha256(BLOB).hexdigest()))
blob("no signature", "untrusted", blob_with("messageSignature", "signature", None))
blob("line break in the signature", "form", blob_with("messageSignature", "signature", b64(over(BLOB))[:8] + "\n" + b64(over(BLOB))[8:]))
blob("no message signature", "form", blob_with("messageSignature", None))
blob("a statement instead", "form", good)
blob("both contents", "form", dict(signed_blob(), dsseEnvelope=good["dsseEnvelope"]))
blob("no public key", "form", blob_with("verificationMaterial", {}))
blob("a certificate beside the key", "form", signed_blob(certificate={"rawBytes": "MAA="}))
blob("a certificate instead of a key", "form", blob_with("verificationMaterial", {"certificate": {"rawBytes": "MAA="}}))
blob("media type v0.1", "form", blob_with("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.1"))
blob("media type v0.4", "form", blob_with("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json"))
blob("unknown key", "form", blob_with("note", "x"))
blob("unknown key in the signature", "form", blob_with("messageSignature", "note", "x"))
blob("duplicate signature", "form", bare.replace('"messageSignature":{', '"messageSignature":{"signature":"MAA=",'))
blob("key in another case", "form", bare.replace('"signature"', '"Signature"'))
blob("data after the end", "form", bare + "{}")
blob("cut", "form", bare[:-1])
blob("null", "form", "null")

vectors = {
    "source": "tests/vectors/bundle/generate.py",
    "predicateType": TYPE,
    "subject": "sha256:" + SUBJECT,
    "payload": text,
    "statement": "sha256:" + hashlib.sha256(IN_TOTO.encode() + payload).hexdigest(),
    "trusted": {
        "privateScalar": "1001",
        "pem": pem(trusted),
        "id": "sha256:" + hashlib.sha256(spki(trusted, serialization.Encoding.DER)).hexdigest(),
    },
    "cases": cases,
    "blob": {"content": BLOB.decode(), "cases": blobs},
    "refusedKeys": [{"name": name, "pem": text} for name, text in other.items()],
}
pathlib.Path(__file__).with_name("vectors.json").write_text(json.dumps(vectors, indent=1) + "\n")
print(len(cases), "bundles,", len(blobs), "blobs,", len(other), "keys")
