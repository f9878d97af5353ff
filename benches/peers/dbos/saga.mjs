// DBOS on PostgreSQL, TypeScript SDK: a workflow of three steps.
//
// Differs from ours: a step is at least once; the workflow's own code compensates; a step that timed
// out after its effect is an error like any other.
//
// Node.js runs JavaScript on one core, so the clients are divided among processes that share the
// database, each an executor of its own. The first process only starts them and merges their figures.
// Of the CPU that a workflow costs, PostgreSQL uses two thirds: one process can keep three cores busy.

import { DBOS } from "@dbos-inc/dbos-sdk";
import { fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({
  options: {
    store: { type: "string" },
    concurrency: { type: "string", default: "64" },
    seconds: { type: "string", default: "10" },
    "warm-up": { type: "string", default: "2" },
    "fail-last": { type: "boolean", default: false },
    processes: { type: "string", default: String(Math.ceil(availableParallelism() / 3)) },
    pool: { type: "string", default: "20" },
    executor: { type: "string" },
  },
});
const processes = Math.min(Number(flags.processes), Number(flags.concurrency));

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

await (flags.executor === undefined ? measure() : execute(Number(flags.executor)));
process.exit(0);

async function measure() {
  const executors = [];
  // One after the other: the first makes the tables.
  for (let nth = 0; nth < processes; nth++) {
    const flagsOfIt = [...process.argv.slice(2), "--executor", String(nth)];
    // Its driver of PostgreSQL warns of how it is called.
    const executor = fork(process.argv[1], flagsOfIt, { execArgv: ["--no-deprecation"] });
    executor.on("exit", (code) => code && process.exit(code));
    await once(executor, "message");
    executors.push(executor);
  }
  const seconds = Number(flags.seconds);
  const begin = Date.now() + 1000 * Number(flags["warm-up"]);
  const end = begin + 1000 * seconds;
  setTimeout(begin - Date.now()).then(() => say({ event: "begin" }));
  // Told before the figures, even where no client has a workflow under way by then.
  const ended = setTimeout(end - Date.now()).then(() => say({ event: "end" }));
  const figures = executors.map(async (executor) => {
    const took = once(executor, "message");
    executor.send({ begin, end });
    return (await took)[0];
  });
  const took = (await Promise.all(figures)).flat().sort((a, b) => a - b);
  await ended;
  const at = (share) => took[Math.floor((took.length - 1) * share)];
  say({
    event: "figures",
    sagas: took.length,
    sagas_per_s: took.length / seconds,
    p50_ms: at(0.5),
    p99_ms: at(0.99),
  });
}

async function execute(nth) {
  DBOS.setConfig({
    name: "saga-peer",
    executorID: `executor-${nth}`,
    systemDatabaseUrl: flags.store,
    systemDatabasePoolSize: Number(flags.pool),
    logLevel: "error",
  });
  await DBOS.launch();
  process.send("ready");
  const [{ begin, end }] = await once(process, "message");
  const workflow = flags["fail-last"] ? declined : order;
  const took = [];
  let next = nth;
  const client = async () => {
    for (;;) {
      const started = performance.now();
      if (Date.now() >= end) return;
      const n = next;
      next += processes;
      await workflow(`order-${String(n).padStart(10, "0")}-${"x".repeat(180)}`);
      const now = Date.now();
      if (now >= begin && now < end) took.push(performance.now() - started);
    }
  };
  const all = Number(flags.concurrency);
  const clients = Math.floor(all / processes) + (nth < all % processes ? 1 : 0);
  await Promise.all(Array.from({ length: clients }, client));
  await new Promise((sent) => process.send(took, sent));
}

function say(line) {
  console.log(JSON.stringify(line));
}
