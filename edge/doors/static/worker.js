// Keeps the page itself, so that it opens while the gateway cannot be reached; acts wait in the page.
const KEPT = "telomere-scan-1";
const SHELL = ["/", "/scan.js", "/style.css", "/icon.svg"];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(SHELL)).then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || !SHELL.includes(url.pathname)) return;
  event.respondWith(
    fetch(event.request)
      .then((answer) => {
        const copy = answer.clone();
        if (answer.ok) event.waitUntil(caches.open(KEPT).then((cache) => cache.put(url.pathname, copy)));
        return answer;
      })
      .catch(() => caches.match(url.pathname)),
  );
});
