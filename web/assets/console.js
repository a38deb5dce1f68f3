// What every page does with JavaScript on: it adds the local time beside UTC,
// and sends no form twice.
"use strict";
(function () {
  function local(root) {
    root.querySelectorAll("time[datetime]").forEach(function (t) {
      if (t.dataset.local) return;
      var at = new Date(t.getAttribute("datetime"));
      if (isNaN(at)) return;
      t.dataset.local = "yes";
      t.title = at.toLocaleString(undefined, { timeZoneName: "short" });
      if (at.getTimezoneOffset() !== 0) {
        var span = document.createElement("span");
        span.className = "local";
        span.textContent = " (" + at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", timeZoneName: "short" }) + ")";
        t.after(span);
      }
    });
  }
  document.addEventListener("submit", function (e) {
    var form = e.target;
    if (form.method !== "post" || e.defaultPrevented) return;
    if (form.dataset.sent) { e.preventDefault(); return; }
    form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", function (e) {
    if (e.persisted) document.querySelectorAll("form[data-sent]").forEach(function (f) { delete f.dataset.sent; });
  });
  document.addEventListener("htmx:afterSwap", function (e) { local(e.target.parentNode || document); });
  local(document);
})();
