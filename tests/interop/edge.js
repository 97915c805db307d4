// A foreign edge node by npm's sparkplug-client: births on every "birth" and rebirth, data on command.
// node edge.js PORT GROUP NODE; one command a line on stdin: `data NUMBER`, `stop`. Says `birth`, `ncmd NAME`, `sent`.
"use strict";
const { createRequire } = require("module");
const peers = createRequire(process.env.PEERS + "/");
const { newClient } = peers("sparkplug-client");
const [port, groupId, edgeNode] = process.argv.slice(2);
const client = newClient({
  serverUrl: `mqtt://127.0.0.1:${port}`, username: "", password: "", groupId, edgeNode,
  clientId: `${groupId}.${edgeNode}`, version: "spBv1.0", publishDeath: true,
});
const say = (text) => process.stdout.write(text + "\n");
let value = 1.5;

function birth() {
  const timestamp = Date.now();
  client.publishNodeBirth({ timestamp, metrics: [
    { name: "Node Control/Rebirth", type: "Boolean", value: false, timestamp },
    { name: "load", type: "Double", value: 0.5, timestamp },
  ] });
  client.publishDeviceBirth("pump", { timestamp, metrics: [
    { name: "speed", alias: 1, type: "Double", value, timestamp, properties: { engUnit: { type: "String", value: "1/min" } } },
    { name: "count", alias: 2, type: "Int32", value: -7, timestamp },
    { name: "on", alias: 3, type: "Boolean", value: true, timestamp },
    { name: "mode", alias: 4, type: "String", value: "auto", timestamp },
  ] });
  say("birth");
}

client.on("birth", birth);
client.on("ncmd", (payload) => {
  for (const metric of payload.metrics) say(`ncmd ${metric.name}`);
  if (payload.metrics.some((m) => m.name === "Node Control/Rebirth" && m.value === true)) birth();
});
client.on("error", (error) => { say(`error ${error.message}`); process.exit(1); });

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [verb, argument] = line.split(" ");
  if (verb === "stop") { client.stop(); return; }
  value = Number(argument);
  const timestamp = Date.now();
  client.publishDeviceData("pump", { timestamp, metrics: [
    { alias: 1, type: "Double", value, timestamp },
    { alias: 2, type: "Int32", value: -Math.trunc(value), timestamp },
  ] });
  client.publishNodeData({ timestamp, metrics: [{ name: "load", type: "Double", value, timestamp }] });
  say("sent");
}).on("close", () => process.exit(0));
