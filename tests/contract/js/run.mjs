// Runs what tests/support/node.py sends: a line of input is a function's body and the names it knows, a line of
// output is what it returned ({"value"}) or threw ({"error"}).
import { createInterface } from "node:readline";

const LIMIT_MS = 60_000;
const AsyncFunction = (async () => {}).constructor;
const load = (name) => import(name);

// Standard output is for answers; what clients print goes where a failed test shows it.
console.log = console.info = console.error;

let blame = () => {};
process.on("unhandledRejection", (error) => blame(error));

async function run({ source, names }) {
  return new AsyncFunction("load", ...Object.keys(names), source)(load, ...Object.values(names));
}

// What a developer sees of an error: its class, its words, and its own fields as far as JSON can tell them.
function told(error) {
  const facts = { class: error?.constructor?.name, message: error?.message ?? String(error) };
  for (const [name, value] of Object.entries(Object(error))) {
    try {
      facts[name] = JSON.parse(JSON.stringify(value ?? null));
    } catch {
      facts[name] = String(value);
    }
  }
  return facts;
}

async function outcome(call) {
  let timer;
  const trouble = new Promise((_, reject) => {
    blame = reject;
    timer = setTimeout(() => reject(new Error(`not done within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
  });
  try {
    return { value: (await Promise.race([run(call), trouble])) ?? null };
  } catch (error) {
    return { error: told(error) };
  } finally {
    clearTimeout(timer);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await outcome(JSON.parse(line)))}\n`);
}
