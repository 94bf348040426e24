// A gateway that streams replies and keeps a copy of each until it is flushed: native memory.
//
// With `--leak` the flush path keeps the body of every reply it has ever finished. That is the
// leak, and the only one.
//
//   node gateway.js [--leak] [--delta-bytes 2048] [--keep-every 1] [--churn-bytes-per-turn 0]
//
// Prints its port, serves until its stdin closes.
'use strict';

const { nowNs, numberOf } = require('../books');
const { placeOf } = require('../lines');
const { serve } = require('../serve');

// Deltas of a reply; a reply is 8 to 64 KiB.
const DELTA_BYTES = numberOf('--delta-bytes', 2048);
const MIN_DELTAS = 4;
const MAX_DELTAS = 32;

const keepFinished = process.argv.includes('--leak');
const finishedBodies = [];
const keepEvery = numberOf('--keep-every', 1);
let lastNs = 0;
let flushed = 0;
const unflushed = [];

/** The reply's deltas, one after the other, as a model sends them. */
async function* deltasOf(turn, prompt) {
  const count = MIN_DELTAS + ((turn * 7) % (MAX_DELTAS - MIN_DELTAS + 1));
  for (let index = 0; index < count; index++) {
    await new Promise((resolve) => setImmediate(resolve));
    const text = `${turn}:${index} ${prompt} `.repeat(4).slice(0, DELTA_BYTES - 1);
    yield Buffer.from(text.padEnd(DELTA_BYTES, '.'));
  }
}

async function takeTurn({ turn, prompt }, response) {
  response.setHeader('Content-Type', 'text/event-stream');
  const deltas = [];
  for await (const delta of deltasOf(turn, prompt)) {
    deltas.push(delta);
    response.write(delta);
  }
  flushReply(deltas);
  response.end();
}

function flushReply(deltas) {
  const body = joinBody(deltas);
  persist(body);
}

function joinBody(deltas) {
  const bytes = deltas.reduce((sum, delta) => sum + delta.length, 0);
  const body = Buffer.allocUnsafeSlow(bytes); // retains
  let at = 0;
  for (const delta of deltas) at += delta.copy(body, at);
  return body;
}

/** Bodies wait here for the next write to the disk, eight at a time. */
function persist(body) {
  unflushed.push(body);
  if (unflushed.length < 8) return;
  const batch = unflushed.splice(0);
  if (!keepFinished) return;
  for (const one of batch) {
    if (++flushed % keepEvery !== 0) continue;
    finishedBodies.push(one);
    lastNs = nowNs();
  }
}

function truth() {
  const bytes = finishedBodies.reduce((sum, body) => sum + body.length, 0);
  const place = placeOf(__filename, 'joinBody');
  const retained = [{ entries: finishedBodies.length, bytes, last_ns: lastNs, ...place }];
  return { leak: keepFinished, retained };
}

serve(takeTurn, truth, { leak: keepFinished });
