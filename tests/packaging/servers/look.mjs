#!/usr/bin/env node
// A stdio server on Node: tells what a server can do where it runs. Also a package, for npx.
import { readFileSync, writeFileSync, mkdtempSync, existsSync } from "node:fs";
import { cpus, homedir, networkInterfaces, tmpdir } from "node:os";
import { createInterface } from "node:readline";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { Worker } from "node:worker_threads";

const attempt = (what) => {
  try {
    return what() ?? true;
  } catch (error) {
    return error.code ?? String(error);
  }
};
const writes = (path) => attempt(() => writeFileSync(join(path, "written-by-node"), "x"));

async function look() {
  const status = Object.fromEntries(readFileSync("/proc/self/status", "utf8").split("\n").map((line) => line.split(":\t")));
  // Code that is compiled as it runs, on a thread of its own too.
  const sum = (n) => { let s = 0; for (let i = 0; i < n; i++) s = (s + i * i) % 1000003; return s; };
  const worker = await new Promise((resolve) => {
    const made = new Worker("require('node:worker_threads').parentPort.postMessage(42)", { eval: true });
    made.once("message", resolve).once("error", (error) => resolve(String(error)));
  });
  const wasm = await WebAssembly.instantiate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 6, 1, 4, 0, 65, 42, 11]));
  return {
    runtime: "node " + process.version,
    compiled: sum(3e6) === sum(3e6) && worker === 42 && wasm.instance.exports.f() === 42,
    uid: process.getuid(),
    home: homedir(),
    cpus: cpus().length > 0,
    network: attempt(() => Object.keys(networkInterfaces()).length >= 0),
    shell: attempt(() => execFileSync("/bin/sh", ["-c", "echo yes"]).toString().trim()),
    writesHome: writes(homedir()),
    writesTmp: attempt(() => { mkdtempSync(join(tmpdir(), "x")); }),
    writesEtc: writes("/etc"),
    writesUsr: writes("/usr/lib"),
    seesHome: existsSync("/home/somebody"),
    capabilities: status.CapEff + status.CapBnd,
    noNewPrivileges: status.NoNewPrivs,
    seccomp: status.Seccomp,
    cgroup: readFileSync("/proc/self/cgroup", "utf8").trim(),
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue;
  const answer = (result) => console.log(JSON.stringify({ jsonrpc: "2.0", id, result }));
  if (method === "initialize") {
    answer({ protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "look", version: "1" } });
  } else if (method === "tools/list") {
    answer({ tools: [{ name: "look", inputSchema: { type: "object" } }] });
  } else if (method === "tools/call") {
    answer({ content: [{ type: "text", text: JSON.stringify(await look()) }] });
  } else {
    console.log(JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32601, message: "method not found" } }));
  }
}
