// Reads our payloads with npm's sparkplug-payload: a JSON list of hex on stdin, a JSON list on stdout.
"use strict";
const { createRequire } = require("module");
const codec = createRequire(process.env.PEERS + "/")("sparkplug-payload").get("spBv1.0");
const plain = (value) => (value && typeof value === "object" && "toNumber" in value ? value.toString() : value);

function metric(m) {
  const properties = {};
  for (const [key, one] of Object.entries(m.properties || {})) properties[key] = [one.type, plain(one.value)];
  return {
    name: m.name ?? null, alias: m.alias === undefined ? null : Number(m.alias), type: m.type ?? null,
    timestamp: Number(m.timestamp), value: plain(m.value ?? null),
    is_historical: Boolean(m.isHistorical), is_transient: Boolean(m.isTransient), properties,
  };
}

let text = "";
process.stdin.on("data", (part) => { text += part; }).on("end", () => {
  const out = JSON.parse(text).map((hex) => {
    const p = codec.decodePayload(Buffer.from(hex, "hex"));
    return {
      timestamp: Number(p.timestamp), seq: p.seq === undefined ? null : Number(p.seq),
      metrics: (p.metrics || []).map(metric),
    };
  });
  process.stdout.write(JSON.stringify(out));
});
