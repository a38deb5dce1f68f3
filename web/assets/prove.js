// Verifies an inclusion proof of RFC 6962 (section 2.1.1, as RFC 9162 section
// 2.1.3.2 says it) in the reader's own browser: the leaf's bytes, hashed with
// the proof's hashes, must give the root that the page names.
"use strict";
(function () {
  var box = document.getElementById("proof"), verdict = document.getElementById("verdict");
  if (!box || !window.crypto || !window.crypto.subtle) {
    if (verdict) verdict.textContent = "Your browser cannot verify it here: it has no WebCrypto on this address.";
    return;
  }
  function bytes(digest) {
    var hex = digest.replace(/^sha256:/, "");
    if (!/^[0-9a-f]{64}$/.test(hex)) throw new Error("no digest");
    return Uint8Array.from(hex.match(/../g), function (b) { return parseInt(b, 16); });
  }
  function sum(prefix, parts) {
    var size = parts.reduce(function (n, p) { return n + p.length; }, 1), all = new Uint8Array(size), at = 1;
    all[0] = prefix;
    parts.forEach(function (p) { all.set(p, at); at += p.length; });
    return crypto.subtle.digest("SHA-256", all).then(function (h) { return new Uint8Array(h); });
  }
  function same(a, b) { return a.length === b.length && a.every(function (x, i) { return x === b[i]; }); }
  function say(text, kind) { verdict.textContent = text; verdict.className = kind; }
  async function verify(d) {
    var hash = bytes(d.hash), root = bytes(d.root), fn = BigInt(d.index), sn = BigInt(d.size) - 1n;
    if (d.leaf !== undefined && !same(await sum(0, [new TextEncoder().encode(d.leaf)]), hash)) return false;
    var path = d.hashes ? d.hashes.split(", ").map(bytes) : [];
    if (fn > sn) return false;
    for (var i = 0; i < path.length; i++) {
      if (sn === 0n) return false;
      if (fn % 2n === 1n || fn === sn) {
        hash = await sum(1, [path[i], hash]);
        while (fn % 2n === 0n && fn !== 0n) { fn >>= 1n; sn >>= 1n; }
      } else hash = await sum(1, [hash, path[i]]);
      fn >>= 1n;
      sn >>= 1n;
    }
    return sn === 0n && same(hash, root);
  }
  verify(box.dataset).then(function (good) {
    if (good) say("Your browser verified it: " + (box.dataset.leaf === undefined ? "its hash leads" : "these exact bytes lead") + " to the root of the log.", "notice");
    else say("Your browser found that the proof is wrong. Somebody has to look at this log.", "error");
  }).catch(function () { say("Your browser found no proof that it can read. Somebody has to look at this log.", "error"); });
})();
