// A loop that allocates Buffers and records how long it stands still: what gaps.c says of itself,
// with one thread at work. A collection of garbage is a stall too; the longest while nobody attaches
// says how long those are.
'use strict';

const fs = require('node:fs');

// Rounds between two turns of the event loop.
const BETWEEN_TURNS = 100;
const BUFFER_BYTES = 10_000;

const schedstat = fs.openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
const text = Buffer.alloc(128);
const state = { gap: 0, stall: 0, rounds: 0 };

function waitedMs() {
  const length = fs.readSync(schedstat, text, 0, text.length, 0);
  return Number(text.toString('latin1', 0, length).split(' ')[1]) / 1e6;
}

function round() {
  const waited = waitedMs();
  const began = performance.now();
  Buffer.allocUnsafeSlow(BUFFER_BYTES).fill(1, 0, 64);
  const took = performance.now() - began;
  state.gap = Math.max(state.gap, took);
  state.stall = Math.max(state.stall, took - (waitedMs() - waited));
  state.rounds++;
}

function work() {
  for (let i = 0; i < BETWEEN_TURNS; i++) round();
  setImmediate(work);
}

process.stdin.on('data', () => {
  console.log(JSON.stringify({ gap_ms: state.gap, stall_ms: state.stall, rounds: state.rounds }));
  Object.assign(state, { gap: 0, stall: 0, rounds: 0 });
});
process.stdin.on('end', () => process.exit(0));
console.log(`ready ${process.pid}`);
work();
