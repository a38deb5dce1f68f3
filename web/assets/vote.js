// Signs with a key that never leaves this browser: P-256, not extractable, kept
// in IndexedDB, one for each person of each tenant. It signs statements that
// the server wrote, and reads each before: it signs what was asked for, about
// the request that the page shows, or nothing.
"use strict";
(function () {
  var TYPE = "application/vnd.in-toto+json";
  var PREDICATES = "https://github.com/atom-fabric/fabric/predicates/";
  var text = new TextEncoder();

  function bytes(b64) { return Uint8Array.from(atob(b64), function (c) { return c.charCodeAt(0); }); }
  function base64(u8) { var s = ""; u8.forEach(function (b) { s += String.fromCharCode(b); }); return btoa(s); }
  function hex(u8) { return Array.from(u8, function (b) { return b.toString(16).padStart(2, "0"); }).join(""); }
  async function sha256(u8) { return new Uint8Array(await crypto.subtle.digest("SHA-256", u8)); }
  async function digestOf(u8) { return "sha256:" + hex(await sha256(u8)); }

  // The database has one store, of {pair, spki} by "tenant/subject".
  function store(mode, use) {
    return new Promise(function (done, fail) {
      var open = indexedDB.open("fabric-keys", 1);
      open.onupgradeneeded = function () { open.result.createObjectStore("keys"); };
      open.onerror = function () { fail(open.error); };
      open.onsuccess = function () {
        var tx = open.result.transaction("keys", mode), asked = use(tx.objectStore("keys"));
        tx.oncomplete = function () { open.result.close(); done(asked.result); };
        tx.onabort = tx.onerror = function () { fail(tx.error); };
      };
    });
  }
  function held(person) { return store("readonly", function (s) { return s.get(person); }); }
  async function made(person) {
    var pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
    var spki = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
    var key = { pair: pair, spki: spki };
    await store("readwrite", function (s) { return s.put(key, person); });
    return key;
  }
  function pem(spki) { return "-----BEGIN PUBLIC KEY-----\n" + base64(spki).match(/.{1,64}/g).join("\n") + "\n-----END PUBLIC KEY-----\n"; }

  // DSSE's pre-authentication encoding.
  function pae(type, payload) {
    var head = text.encode("DSSEv1 " + text.encode(type).length + " " + type + " " + payload.length + " ");
    var out = new Uint8Array(head.length + payload.length);
    out.set(head); out.set(payload, head.length);
    return out;
  }
  // WebCrypto gives r and s side by side; DER is what other tools verify.
  function der(rs) {
    function integer(x) {
      var i = 0;
      while (i < x.length - 1 && x[i] === 0) i++;
      var body = Array.from(x.slice(i));
      if (body[0] & 0x80) body.unshift(0);
      return [2, body.length].concat(body);
    }
    var body = integer(rs.slice(0, 32)).concat(integer(rs.slice(32)));
    return Uint8Array.from([0x30, body.length].concat(body));
  }
  async function sign(key, paper) {
    var payload = bytes(paper.payload);
    var rs = new Uint8Array(await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, key.pair.privateKey, pae(TYPE, payload)));
    return JSON.stringify({
      mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
      verificationMaterial: { publicKey: { hint: base64(await sha256(key.spki)) } },
      dsseEnvelope: { payload: paper.payload, payloadType: TYPE, signatures: [{ sig: base64(der(rs)) }] }
    });
  }
  async function ask(address, fields) {
    var answer = await fetch(address, { method: "POST", body: new URLSearchParams(fields), credentials: "same-origin", headers: { Accept: "application/json" } });
    var body = null;
    try { body = await answer.json(); } catch (e) { body = { title: "The console did not answer as expected", detail: "" }; }
    if (!answer.ok) throw new Error([body.title, body.detail].filter(Boolean).join(". "));
    return body;
  }
  // What a statement says, once it is what it should be.
  function read(paper, kind, subject) {
    var s = JSON.parse(new TextDecoder().decode(bytes(paper.payload)));
    if (paper.payloadType !== TYPE || s.predicateType !== PREDICATES + kind || s.subject.length !== 1 || "sha256:" + s.subject[0].digest.sha256 !== subject) {
      throw new Error("The server asked to sign something else. Nothing was signed.");
    }
    return s.predicate;
  }
  function say(node, words, bad) { node.textContent = words; node.className = bad ? "error" : "quiet"; node.hidden = !words; }
  var able = window.isSecureContext && window.crypto && crypto.subtle && window.indexedDB;
  var unable = "This browser cannot keep a key here (it needs WebCrypto, and https or a loopback address). Vote from a terminal instead.";

  async function voting(form) {
    var state = document.getElementById("vote-state"), person = form.dataset.person;
    if (!able) return say(state, unable, true);
    var key = await held(person), id = key && await digestOf(key.spki);
    var known = form.dataset.keys.split(" ");
    if (!key) return say(state, "This browser holds no key of yours. Make one in the settings, or vote from a terminal.", true);
    if (known.indexOf(id) < 0) return say(state, "The key of this browser (" + id.slice(7, 19) + ") is not registered for you yet. An admin confirms it in the settings.", true);
    say(state, "You sign with the key " + id.slice(7, 19) + " of this browser.");
    form.querySelectorAll("button[data-may]").forEach(function (b) { b.disabled = false; });
    form.addEventListener("submit", async function (e) {
      e.preventDefault();
      if (form.dataset.busy || !e.submitter) return;
      form.dataset.busy = "yes";
      try {
        var shown = document.getElementById("request-text").textContent;
        var asked = JSON.parse(shown), request = await digestOf(text.encode(shown));
        var says = e.submitter.value;
        say(state, "Signing ...");
        var paper = await ask(form.dataset.statement, {
          decision: says, reason: form.reason.value, confirm: form.confirm ? form.confirm.value : "", on_behalf_of: form.on_behalf_of.value
        });
        var p = read(paper, "approval/v1", asked.action.plan);
        if (p.decision !== says || p.request !== request || p.action !== asked.action.id || p.nonce !== asked.nonce || (p.reason || "") !== form.reason.value.trim()) {
          throw new Error("The server asked to sign another decision, or about another request. Nothing was signed; load the page anew.");
        }
        form.bundle.value = await sign(key, paper);
        say(state, "Signed " + paper.digest + ". Sending ...");
        HTMLFormElement.prototype.submit.call(form);
      } catch (err) {
        delete form.dataset.busy;
        say(state, err.message, true);
      }
    });
  }

  async function enrolling(box) {
    var state = document.getElementById("key-state"), make = document.getElementById("make-key"), out = document.getElementById("key-link"), person = box.dataset.person;
    if (!able) return say(state, unable, true);
    async function show(key) {
      var id = await digestOf(key.spki);
      document.getElementById("key-digest").textContent = id;
      document.getElementById("key-known").hidden = false;
      make.hidden = true;
      if (box.dataset.keys.split(" ").indexOf(id) >= 0) return say(state, "This browser holds your key, and it is registered.");
      say(state, "This browser holds a key of yours that is not registered yet.");
      var paper = await ask(box.dataset.statement, { key: id });
      var p = read(paper, "enrolment/v1", id);
      if (p.name + "" !== box.dataset.name || p.tenant !== box.dataset.tenant) throw new Error("The server asked to sign another name. Nothing was signed.");
      var query = new URLSearchParams({ name: p.name, key: pem(key.spki), proof: await sign(key, paper) });
      out.href = box.dataset.enrol + "?" + query;
      out.textContent = out.href;
      document.getElementById("key-ask").hidden = false;
    }
    function trouble(err) { say(state, err.message || String(err), true); }
    make.hidden = false;
    make.addEventListener("click", function () { make.disabled = true; made(person).then(show).catch(trouble).finally(function () { make.disabled = false; }); });
    document.getElementById("copy-link").addEventListener("click", function (e) {
      navigator.clipboard.writeText(out.href).then(function () { e.target.textContent = "Copied"; }, trouble);
    });
    document.getElementById("forget-key").addEventListener("click", function () {
      store("readwrite", function (s) { return s.delete(person); }).then(function () { location.reload(); }, trouble);
    });
    var key = await held(person);
    if (key) await show(key); else say(state, "This browser holds no key of yours.");
  }

  function fail(id) { return function (err) { say(document.getElementById(id), err.message || String(err), true); }; }
  var vote = document.getElementById("vote"), box = document.getElementById("my-key");
  if (vote) voting(vote).catch(fail("vote-state"));
  if (box) enrolling(box).catch(fail("key-state"));
})();
