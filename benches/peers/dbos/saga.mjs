// DBOS on PostgreSQL, TypeScript SDK: a workflow of three steps.
//
// Differs from ours: a step is at least once; the workflow's own code compensates; a step that timed
// out after its effect is an error like any other.

import { DBOS } from "@dbos-inc/dbos-sdk";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({
  options: {
    store: { type: "string" },
    concurrency: { type: "string", default: "64" },
    seconds: { type: "string", default: "10" },
    "warm-up": { type: "string", default: "2" },
    "fail-last": { type: "boolean", default: false },
  },
});

const nothing = async () => {};
const reject = async () => {
  throw new Error("no");
};
const step = (run, name) => DBOS.runStep(run, { name });

const order = DBOS.registerWorkflow(
  async (input) => {
    await step(nothing, "reserve-stock");
    await step(nothing, "redeem-coupon");
    await step(nothing, "capture-payment");
    return input.length;
  },
  { name: "order" },
);

const declined = DBOS.registerWorkflow(
  async (input) => {
    await step(nothing, "reserve-stock");
    await step(nothing, "redeem-coupon");
    try {
      await step(reject, "capture-payment");
    } catch {
      await step(nothing, "restore-coupon");
      await step(nothing, "release-stock");
    }
    return input.length;
  },
  { name: "declined" },
);

DBOS.setConfig({
  name: "saga-peer",
  systemDatabaseUrl: flags.store,
  systemDatabasePoolSize: 20,
  logLevel: "error",
  runAdminServer: false,
});
await DBOS.launch();

const workflow = flags["fail-last"] ? declined : order;
const seconds = Number(flags.seconds);
const begin = performance.now() + 1000 * Number(flags["warm-up"]);
const end = begin + 1000 * seconds;
const took = [];
let next = 0;

async function client() {
  for (;;) {
    const started = performance.now();
    if (started >= end) return;
    const n = next++;
    await workflow(`order-${String(n).padStart(10, "0")}-${"x".repeat(180)}`);
    const ended = performance.now();
    if (ended >= begin && ended < end) took.push(ended - started);
  }
}

const say = (line) => console.log(JSON.stringify(line));
setTimeout(() => say({ event: "begin" }), begin - performance.now());
setTimeout(() => say({ event: "end" }), end - performance.now());
await Promise.all(Array.from({ length: Number(flags.concurrency) }, client));
took.sort((a, b) => a - b);
const at = (share) => took[Math.floor((took.length - 1) * share)];
say({
  event: "figures",
  sagas: took.length,
  sagas_per_s: took.length / seconds,
  p50_ms: at(0.5),
  p99_ms: at(0.99),
});
process.exit(0);
