// The process of a REPL, as Deno runs it: takes what the supervisor sends, and hands it to the thread that runs Python.
//
// Two threads, for Python leaves its own no moment to hear that it is to stop. Between them lies shared memory: a ring
// of bytes, and a flag that Python looks at between its instructions. Outwards the other thread speaks for itself.
// This one compiles Python, while the other loads the rest.

const RING_BYTES = 1 << 20;
const INTERRUPT = 2; // SIGINT, as Python's port to WebAssembly has it

const options = JSON.parse(Deno.args[0]);
const { EVENTS, WRITTEN, READ, WORDS } = { EVENTS: 0, WRITTEN: 1, READ: 2, WORDS: 4 };
const words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
const ring = new Uint8Array(new SharedArrayBuffer(RING_BYTES));
const interrupt = new Uint8Array(new SharedArrayBuffer(1));

const exit = Deno.exit;
const stdin = Deno.stdin;
const thread = new Worker(new URL("./python.mjs", import.meta.url), { type: "module" });
thread.onmessage = ({ data }) => (data === "revoke" ? revoke() : exit(data.exit));
thread.onerror = (event) => {
  console.error(`the thread that runs Python ended: ${event.message}`);
  exit(71);
};
Deno.addSignalListener("SIGINT", () => {
  Atomics.store(interrupt, 0, INTERRUPT);
  wake();
});
thread.postMessage({ words, ring, interrupt, options });
thread.postMessage(await WebAssembly.compile(Deno.readFileSync(`${options.runtime}/pyodide.asm.wasm`)));

const chunk = new Uint8Array(RING_BYTES);
for (;;) {
  const received = await stdin.read(chunk);
  if (received === null) exit(70); // the supervisor is gone
  await pass(chunk.subarray(0, received));
}

// The indexes count bytes for ever, modulo 2^32; the ring's size divides that.
async function pass(bytes) {
  while (bytes.length) {
    const read = Atomics.load(words, READ);
    const written = Atomics.load(words, WRITTEN);
    const free = RING_BYTES - ((written - read) >>> 0);
    if (free === 0) {
      await Atomics.waitAsync(words, READ, read).value;
      continue;
    }
    const start = (written >>> 0) % RING_BYTES;
    const length = Math.min(free, bytes.length, RING_BYTES - start);
    ring.set(bytes.subarray(0, length), start);
    Atomics.store(words, WRITTEN, (written + length) | 0);
    wake();
    bytes = bytes.subarray(length);
  }
}

function wake() {
  Atomics.add(words, EVENTS, 1);
  Atomics.notify(words, EVENTS);
}

// Everything is loaded. Nothing was ever granted but to read our own files; now that is given back as well.
function revoke() {
  for (const name of ["read", "write", "net", "env", "run", "ffi", "sys", "import"]) Deno.permissions.revokeSync({ name });
}
