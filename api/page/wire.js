// Calls to the service this page came from: plain requests, and one job's events as they come.

const keyField = document.getElementById("key");
keyField.value = sessionStorage.getItem("sightline-key") ?? "";
keyField.addEventListener("change", () => sessionStorage.setItem("sightline-key", keyField.value));

export class Refusal extends Error {
  constructor(status, body) {
    const said = body?.error?.message ?? body?.detail ?? body?.error ?? `The service answered ${status}.`;
    super(typeof said === "string" ? said : JSON.stringify(said));
    this.status = status;
    this.code = body?.code ?? body?.error?.code ?? "";
  }
}

function headers(more) {
  const key = keyField.value.trim();
  return { ...more, ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

// The answer's JSON and its headers. Throws Refusal, or TypeError where the service is out of reach.
export async function call(path, { method = "GET", body, more = {} } = {}) {
  const told = body === undefined ? {} : { "content-type": "application/json" };
  const answer = await fetch(path, {
    method,
    headers: headers({ ...told, ...more }),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const parsed = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Refusal(answer.status, parsed);
  return { data: parsed, headers: answer.headers };
}

// Every event of a job, exactly once and in order. A broken connection is taken up again behind the last event
// that came. EventSource would do the same, but cannot send a key.
export async function* events(job, signal) {
  let last = 0;
  for (let tries = 0; ; tries++) {
    try {
      for await (const event of stream(job, last, signal)) {
        tries = 0;
        last = event.id;
        yield event;
        if (event.data.job) return;
      }
    } catch (error) {
      if (signal.aborted || error instanceof Refusal) throw error;
    }
    await pause(Math.min(5000, 250 * 2 ** tries), signal);
  }
}

async function* stream(job, after, signal) {
  const answer = await fetch(`v1/jobs/${job}/events?after=${after}`, { headers: headers({}), signal });
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => null));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    yield* blocks.map(read).filter(Boolean);
  }
}

function read(block) {
  const fields = Object.fromEntries(
    block.split("\n").filter((line) => !line.startsWith(":")).map((line) => line.split(/: (.*)/s, 2)),
  );
  return fields.data && { id: Number(fields.id), type: fields.event, data: JSON.parse(fields.data) };
}

export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
