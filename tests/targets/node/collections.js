// Makes Buffers, drops or keeps them, and has V8 collect when told to; V8 itself says when it
// collects (--trace-gc), on stdout. Prints what it holds and how large its heap is.
// node --expose-gc --trace-gc collections.js SECONDS KEPT DROPPED OBJECTS COLLECT_EVERY_MS
// KEPT and DROPPED Buffers, and OBJECTS kept objects, every 20 ms; 0 ms: no collection is asked for.
'use strict';

const { getHeapStatistics } = require('node:v8');

const [seconds, kept, dropped, objects, collectEvery] = process.argv.slice(2).map(Number);
const BYTES = 16 * 1024;
const heldBuffers = [];
const heldObjects = [];

function keep() {
  heldBuffers.push(Buffer.allocUnsafeSlow(BYTES));
}

function drop() {
  Buffer.allocUnsafeSlow(BYTES);
}

function work() {
  for (let i = 0; i < kept; i++) keep();
  for (let i = 0; i < dropped; i++) drop();
  for (let i = 0; i < objects; i++) heldObjects.push({ id: i, text: `object ${i}`, tags: [i] });
}

function done(timers) {
  timers.forEach(clearInterval);
  const heap = getHeapStatistics();
  console.log(JSON.stringify({
    held_buffers: heldBuffers.length,
    held_bytes: heldBuffers.length * BYTES,
    held_objects: heldObjects.length,
    heap_bytes: heap.total_physical_size,
  }));
}

process.stdin.once('data', () => {
  const timers = [setInterval(work, 20)];
  if (collectEvery > 0) timers.push(setInterval(() => globalThis.gc(), collectEvery));
  setTimeout(() => done(timers), seconds * 1000);
});
process.stdin.on('end', () => process.exit(0));
