// What the leaking servers here share: options, the time of the latest piece that was kept, innocent
// traffic, and what a piece costs in V8's heap, as V8 itself measures it.
'use strict';

const v8 = require('node:v8');
const vm = require('node:vm');

const SCRATCH_BYTES = 64 * 1024;
const SCRATCH_SLOTS = 16;
const MEASURED = 48;

/** The number behind an option of the command line. */
function numberOf(option, otherwise) {
  const at = process.argv.indexOf(option);
  const value = at < 0 ? otherwise : Number(process.argv[at + 1]);
  if (!Number.isFinite(value)) throw new Error(`${option} needs a number`);
  return value;
}

/** CLOCK_MONOTONIC, as those who ask can compare it. */
function nowNs() {
  return Number(process.hrtime.bigint());
}

// Buffers that each turn takes and that are garbage a few turns later: native memory, up to 20 MB
// per second where `--churn-bytes-per-turn` says so.
const churnedBytes = numberOf('--churn-bytes-per-turn', 0);
const slots = new Array(SCRATCH_SLOTS).fill(null);
let due = 0;
let taken = 0;

function churn() {
  for (due += churnedBytes; due >= SCRATCH_BYTES; due -= SCRATCH_BYTES) {
    const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    scratch[0] = 1;
    slots[taken++ % SCRATCH_SLOTS] = scratch;
  }
}

/** Bytes of V8's heap for each of what `make` makes. */
function heapBytesOf(make) {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc');
  const used = () => {
    for (let round = 0; round < 4; round++) collect();
    return v8.getHeapStatistics().used_heap_size;
  };
  // Code, feedback and maps come with the first ones.
  const held = Array.from({ length: MEASURED }, make);
  const before = used();
  for (let index = 0; index < MEASURED; index++) held.push(make(undefined, index + MEASURED));
  const bytes = used() - before;
  // Named behind the last reading, so that what is held is held until then.
  return bytes / (held.length - MEASURED);
}

module.exports = { churn, heapBytesOf, nowNs, numberOf };
