// Asks the engine of Perfetto's viewer about a trace: node query.js FOLDER TRACE < SQL
//
// FOLDER holds `engine_bundle.js` and `trace_processor.wasm`, as the viewer is built; each line of the standard input is a
// query, and each line of the output is its rows: JSON, an array of objects. It exits with 1 where the engine refuses
// anything, with its words on standard error.
//
// The bundle is written for a worker of a browser: it fetches its WebAssembly and is handed a port, through which it takes
// and gives messages of Perfetto's `trace_processor.proto`. So this file is a browser to it, as far as it asks for one.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const vm = require('vm');

const [folder, trace] = process.argv.slice(2);

// What of `trace_processor.proto` is spoken here: numbers of fields and values of enumerations.
const STREAM = { message: 1 };
const RPC = { sequence: 1, request: 2, appendTraceData: 101, queryArguments: 103, appendResult: 201, queryResult: 203 };
const METHOD = { appendTraceData: 1, finalizeTraceData: 2, query: 3 };
const FATAL = 5;
const APPEND_RESULT = { error: 2 };
const RESULT = { columnNames: 1, error: 2, batch: 3 };
const BATCH = { cells: 1, varints: 2, floats: 3, strings: 5, isLast: 6 };
const CELL = { null: 1, varint: 2, float: 3, string: 4 };

// Protocol buffers, as far as these messages need them.
function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}
const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const bytes = (field, value) => Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);

class Reader {
  constructor(buffer) { this.buffer = buffer; this.at = 0; }
  get isAtEnd() { return this.at >= this.buffer.length; }
  varint() {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.buffer[this.at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, value);
    }
  }
  // The fields of a message: each number with its values, in order.
  fields() {
    const fields = new Map();
    while (!this.isAtEnd) {
      const tag = Number(this.varint());
      const [field, wire] = [tag >> 3, tag & 7];
      let value;
      if (wire === 0) {
        value = this.varint();
      } else {
        const length = wire === 2 ? Number(this.varint()) : { 1: 8, 5: 4 }[wire];
        value = this.buffer.subarray(this.at, this.at += length);
      }
      fields.set(field, [...(fields.get(field) ?? []), value]);
    }
    return fields;
  }
}
const fieldsOf = (buffer) => new Reader(buffer).fields();

function fail(why) {
  console.error(String(why));
  process.exit(1);
}

// The worker's surroundings, and the way to its port.
const answers = [];
let awaiting = null;
const port = {
  onmessage: null,
  postMessage(data) {
    for (const message of fieldsOf(Buffer.from(data)).get(STREAM.message) ?? []) answers.push(fieldsOf(message));
    awaiting?.();
  },
};
const surroundings = {
  console: { log() {}, warn: console.error, error: console.error },
  XMLHttpRequest: class {
    open(method, url) { this.response = fs.readFileSync(path.join(folder, path.basename(url))); }
    send() {}
  },
  WebAssembly, Uint8Array, TypeError, URL, TextDecoder, TextEncoder, setTimeout, performance, crypto: crypto.webcrypto,
  location: { href: 'http://localhost/engine_bundle.js' },
  importScripts() {},
};
surroundings.self = surroundings.globalThis = surroundings;
surroundings.WorkerGlobalScope = class {};
vm.createContext(surroundings);
vm.runInContext(fs.readFileSync(path.join(folder, 'engine_bundle.js'), 'utf8'), surroundings, 'engine_bundle.js');
surroundings.onmessage({ data: port });

let sequence = 0;
// Sends a request, and returns the field `wanted` of the next answer.
async function ask(method, wanted, ...fields) {
  const message = Buffer.concat([number(RPC.sequence, ++sequence), number(RPC.request, method), ...fields]);
  port.onmessage({ data: new Uint8Array(bytes(STREAM.message, message)) });
  return answer(wanted);
}
async function answer(wanted) {
  if (answers.length === 0) await new Promise((resolve) => { awaiting = resolve; });
  const fields = answers.shift();
  if (fields.has(FATAL)) fail(fields.get(FATAL)[0]);
  return fields.get(wanted)?.[0];
}

async function query(sql) {
  const rows = [];
  let columns = [];
  let part = await ask(METHOD.query, RPC.queryResult, bytes(RPC.queryArguments, bytes(1, Buffer.from(sql))));
  for (;;) {
    const result = fieldsOf(part);
    if (result.has(RESULT.error)) fail(`${sql}: ${result.get(RESULT.error)[0]}`);
    if (result.has(RESULT.columnNames)) columns = result.get(RESULT.columnNames).map(String);
    let isLast = false;
    for (const buffer of result.get(RESULT.batch) ?? []) {
      const batch = fieldsOf(buffer);
      const of = (field) => new Reader(Buffer.concat(batch.get(field) ?? []));
      const [cells, varints, floats] = [of(BATCH.cells), of(BATCH.varints), of(BATCH.floats)];
      const strings = Buffer.concat(batch.get(BATCH.strings) ?? []).toString().split('\0');
      while (!cells.isAtEnd) {
        const row = {};
        for (const column of columns) {
          const cell = Number(cells.varint());
          if (cell === CELL.null) row[column] = null;
          else if (cell === CELL.varint) row[column] = Number(varints.varint());
          else if (cell === CELL.float) row[column] = floats.buffer.readDoubleLE((floats.at += 8) - 8);
          else if (cell === CELL.string) row[column] = strings.shift();
          else fail(`${sql}: a cell of type ${cell}`);
        }
        rows.push(row);
      }
      isLast ||= batch.get(BATCH.isLast)?.[0] === 1n;
    }
    if (isLast) return rows;
    part = await answer(RPC.queryResult);
  }
}

async function main() {
  // The engine is ready when what it has put off is done.
  await new Promise(setImmediate);
  // The viewer reads a file in such pieces.
  const PIECE = 1 << 20;
  const text = fs.readFileSync(trace);
  for (let at = 0; at < text.length; at += PIECE) {
    const piece = text.subarray(at, at + PIECE);
    const result = await ask(METHOD.appendTraceData, RPC.appendResult, bytes(RPC.appendTraceData, piece));
    const error = result && fieldsOf(result).get(APPEND_RESULT.error);
    if (error) fail(`${trace}: ${error[0]}`);
  }
  await ask(METHOD.finalizeTraceData, RPC.appendResult);
  for (const sql of fs.readFileSync(0, 'utf8').split('\n').filter((line) => line !== '')) {
    console.log(JSON.stringify(await query(sql)));
  }
}
main().catch((error) => fail(error.stack));
