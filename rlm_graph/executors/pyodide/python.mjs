// The thread that runs Python. What code can reach of JavaScript is what this file leaves there: the language, and two
// devices. All else goes before the first cell: Deno before Pyodide is loaded, which therefore takes this for a browser
// and never holds Node's modules; the rest of the globals and the permission to read after it.

const deno = globalThis.Deno;
const post = self.postMessage.bind(self);
const [EVENTS, WRITTEN, READ] = [0, 1, 2];
const [EINTR, ENOSPC] = [27, 51]; // as WASI counts
const never = new Int32Array(new SharedArrayBuffer(4));
const STREAMS = { stdout: 1, stderr: 2 };
const INFO = { arch: "wasm32", platform: "emscripten_5_0_3", python: "3.14.2", abi_version: "2026_0" };
const PREPARE = `
import sys
sys.path.insert(0, "/rlm/worker.zip")
from rlm_graph.executors.pyodide.wasm import prepare
prepare()
del sys, prepare
`;
const KEPT = new Set([
  "Object", "Function", "Array", "Number", "parseFloat", "parseInt", "Infinity", "NaN", "undefined", "Boolean", "String",
  "Symbol", "Date", "Promise", "RegExp", "Error", "AggregateError", "EvalError", "RangeError", "ReferenceError",
  "SyntaxError", "TypeError", "URIError", "globalThis", "JSON", "Math", "ArrayBuffer", "Atomics", "Uint8Array", "Int8Array",
  "Uint16Array", "Int16Array", "Uint32Array", "Int32Array", "Float32Array", "Float64Array", "Uint8ClampedArray",
  "BigUint64Array", "BigInt64Array", "DataView", "Map", "BigInt", "Set", "Iterator", "WeakMap", "WeakSet", "WeakRef", "Proxy",
  "Reflect", "FinalizationRegistry", "decodeURI", "decodeURIComponent", "encodeURI", "encodeURIComponent", "isFinite",
  "isNaN", "TextDecoder", "TextEncoder", "performance", "console", "crypto",
]);

// Two messages: what to do, and then the module of Python, which is compiled meanwhile.
const compiling = Promise.withResolvers();
self.onmessage = ({ data }) => {
  self.onmessage = ({ data }) => {
    self.onmessage = null;
    compiling.resolve(data);
  };
  run(data).catch((error) => {
    say(`${error?.stack ?? error}\n`);
    end(71);
  });
};

async function run({ words, ring, interrupt, options }) {
  const files = load(options);
  const python = await start(files, options);
  addDevices(python.FS, words, ring, interrupt);
  python.FS.mkdirTree("/rlm");
  python.FS.writeFile("/rlm/worker.zip", files.archive, { canOwn: true });
  if (!files.snapshot) python.runPython(PREPARE);
  if (options.makeSnapshot) {
    writeAll(deno.stdout, python.makeMemorySnapshot());
    end(0);
  }
  python.setStdin({ error: true });
  python.setStdout({ write: printer(STREAMS.stdout) });
  python.setStderr({ write: printer(STREAMS.stderr) });
  limitFiles(python.FS, options.maxFileBytes);
  python.FS.mkdirTree("/scratch");
  python.FS.chdir("/scratch");
  python.setInterruptBuffer(interrupt);
  forsake();
  const { begin, work } = python.pyimport("rlm_graph.executors.pyodide.wasm");
  try {
    begin(); // after which none of Pyodide's own functions works
    for (;;) work();
  } catch (error) {
    if (typeof error?.status === "number") end(error.status & 255); // Python was left
    say(`${error?.message ?? error}\n`);
    end(71);
  }
}

// Our own files, read while that is permitted.
function load({ runtime, archive, snapshot }) {
  return {
    library: deno.readFileSync(`${runtime}/python_stdlib.zip`),
    archive: deno.readFileSync(archive),
    snapshot: snapshot ? Snapshot.of(snapshot) : null,
  };
}

async function start({ library, snapshot }, { runtime }) {
  hide("Deno", "process", "Buffer");
  globalThis.fetch = async (url) => {
    const name = String(url).split("/").at(-1);
    if (name === "pyodide.asm.wasm") return await compiling.promise;
    if (name === "python_stdlib.zip") return new Response(library);
    throw new Error(`there is no file ${name}`);
  };
  WebAssembly.instantiateStreaming = async (compiled, imports) => {
    const module = await compiled;
    const instance = await WebAssembly.instantiate(module, imports);
    snapshot?.makeRoom(instance.exports.memory);
    return { module, instance };
  };
  const { loadPyodide } = await import(`file://${runtime}/pyodide.mjs`);
  const { default: createPyodideModule } = await import(`file://${runtime}/pyodide.asm.mjs`);
  return await loadPyodide({
    indexURL: `file://${runtime}/`,
    packageBaseUrl: `file://${runtime}/`,
    lockFileContents: { info: INFO, packages: {} }, // there are none to load
    createPyodideModule,
    jsglobals: Object.freeze({ __proto__: null, Object: { fromEntries: Object.fromEntries }, setTimeout, clearTimeout }),
    env: { HOME: "/scratch", TMPDIR: "/scratch", LANG: "C.UTF-8", PYTHONHASHSEED: "0" },
    _makeSnapshot: true, // has it keep count of what a snapshot needs, also of one that it was started from
    ...(snapshot ? { _loadSnapshot: snapshot } : {}),
  });
}

// A snapshot, as Pyodide makes and takes it: a head, whose length is its second word, and then the memory. Pyodide asks
// for the memory as a part of these bytes, and copies that to its own. Thirty megabytes that are read and copied take
// longer than most else that is done here, so when it asks they are read to where they belong, and it gets nothing.
class Snapshot extends Uint8Array {
  static of(path) {
    const file = deno.openSync(path);
    const begin = new Uint32Array(2);
    readAll(file, new Uint8Array(begin.buffer));
    const head = new Snapshot(begin[1]);
    head.set(new Uint8Array(begin.buffer));
    readAll(file, new Uint8Array(head.buffer, begin.byteLength));
    return Object.assign(head, { file, bytes: file.statSync().size - head.length });
  }

  // The module makes its own memory, of its least size; a snapshot is longer.
  makeRoom(memory) {
    const lacking = Math.ceil((this.bytes - memory.buffer.byteLength) / 65536);
    if (lacking > 0) memory.grow(lacking);
    this.memory = memory;
  }

  subarray(begin, end) {
    if (begin < this.length) return new Uint8Array(this.buffer, begin, end - begin);
    readAll(this.file, new Uint8Array(this.memory.buffer, 0, this.bytes));
    this.file.close();
    return new Uint8Array();
  }
}

// `/dev/rlm` carries frames both ways; reading waits. Writing a number to `/dev/rlm-clock` waits that many milliseconds.
// Devices, because a snapshot cannot hold what Python holds of JavaScript; and an interrupt ends their waiting as it
// ends a system call's.
function addDevices(FS, words, ring, interrupt) {
  const wait = (events, milliseconds) => {
    Atomics.wait(words, EVENTS, events, milliseconds);
    check();
  };
  const check = () => {
    if (interrupt[0]) throw new FS.ErrnoError(EINTR);
  };
  const take = (buffer, offset, length) => {
    for (;;) {
      const events = Atomics.load(words, EVENTS);
      const [written, read] = [Atomics.load(words, WRITTEN), Atomics.load(words, READ)];
      const there = (written - read) >>> 0;
      if (there) {
        const start = (read >>> 0) % ring.length;
        const taken = Math.min(there, length, ring.length - start);
        buffer.set(ring.subarray(start, start + taken), offset);
        Atomics.store(words, READ, (read + taken) | 0);
        Atomics.notify(words, READ);
        return taken;
      }
      check();
      wait(events, Infinity);
    }
  };
  const device = (name, minor, operations) => {
    const number = FS.makedev(64, minor);
    FS.registerDevice(number, { open: (stream) => (stream.seekable = false), close() {}, ...operations });
    FS.mkdev(name, 0o666, number);
  };
  device("/dev/rlm", 1, {
    read: (_, buffer, offset, length) => take(buffer, offset, length),
    write: (_, buffer, offset, length) => writeAll(deno.stdout, new Uint8Array(buffer.buffer, buffer.byteOffset + offset, length)),
  });
  device("/dev/rlm-clock", 2, {
    read: () => 0,
    write: (_, buffer, offset, length) => {
      const until = performance.now() + Number(new TextDecoder().decode(buffer.slice(offset, offset + length)));
      for (;;) {
        const events = Atomics.load(words, EVENTS);
        check();
        const left = until - performance.now();
        if (!(left > 0)) return length;
        wait(events, left);
      }
    },
  });
}

// What Python prints, as packets: the stream's number, the length in four bytes, the text.
function printer(stream) {
  return (printed) => {
    const packet = new Uint8Array(5 + printed.length);
    packet[0] = stream;
    new DataView(packet.buffer).setUint32(1, printed.length);
    packet.set(printed, 5);
    writeAll(deno.stderr, packet);
    return printed.length;
  };
}

// Files lie in JavaScript's memory, which has no bound of its own. Those that were removed are not counted.
function limitFiles(FS, most) {
  const { node, stream } = FS.filesystems.MEMFS.ops_table.file;
  const { setattr } = node;
  const { write } = stream;
  const ours = held();
  let atMost = 0; // what files can have come to since they were last counted
  const check = (growth) => {
    if (growth <= 0) return;
    atMost += growth;
    if (atMost > most) atMost = held() - ours + growth;
    if (atMost > most) throw new FS.ErrnoError(ENOSPC);
  };
  function held() {
    let bytes = 0;
    for (const start of FS.nameTable) for (let file = start; file; file = file.name_next) bytes += file.usedBytes || 0;
    return bytes;
  }
  stream.write = (file, buffer, offset, length, position, canOwn) => {
    check(position + length - file.node.usedBytes);
    return write(file, buffer, offset, length, position, canOwn);
  };
  node.setattr = (file, attributes) => {
    if (attributes.size !== undefined) check(attributes.size - file.usedBytes);
    return setattr(file, attributes);
  };
}

function forsake() {
  for (const name of ["read", "write", "net", "env", "run", "ffi", "sys", "import"]) deno.permissions.revokeSync({ name });
  post("revoke");
  const silent = () => {};
  const random = globalThis.crypto.getRandomValues.bind(globalThis.crypto);
  globalThis.crypto = Object.freeze({ __proto__: null, getRandomValues: (array) => random(array) });
  globalThis.console = Object.freeze({ log: silent, info: silent, warn: silent, error: silent, debug: silent });
  for (let scope = globalThis; scope; scope = Object.getPrototypeOf(scope)) {
    for (const name of Reflect.ownKeys(scope)) {
      if (KEPT.has(name) || scope === Object.prototype) continue;
      if (scope !== globalThis || !Reflect.deleteProperty(globalThis, name)) cover(name);
    }
  }
}

// Hides what is inherited or cannot be removed. Deno's own runtime needs what it finds in prototypes.
function cover(name) {
  Reflect.defineProperty(globalThis, name, { value: undefined, writable: false, configurable: false });
}

function hide(...names) {
  for (const name of names) delete globalThis[name];
}

function say(text) {
  printer(STREAMS.stderr)(new TextEncoder().encode(text));
}

// Only the other thread can end the process; until then nothing more runs here.
function end(exit) {
  post({ exit });
  Atomics.wait(never, 0, 0);
}

function readAll(file, bytes) {
  for (let done = 0; done < bytes.length; ) {
    const read = file.readSync(bytes.subarray(done));
    if (read === null) throw new Error("a file of ours ends too early");
    done += read;
  }
}

function writeAll(file, bytes) {
  for (let done = 0; done < bytes.length; ) done += file.writeSync(bytes.subarray(done));
  return bytes.length;
}
