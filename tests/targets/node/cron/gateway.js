// A gateway whose work is cron jobs and sub-agents: each turn runs one job, and every third of them
// starts a sub-agent.
//
//   node gateway.js [--leak] [--keep-every 1] [--churn-bytes-per-turn 0]
//
// Prints its port, serves until its stdin closes.
'use strict';

const path = require('node:path');
const { randomUUID } = require('node:crypto');
const { heapBytesOf, numberOf } = require('../books');
const { placeOf } = require('../lines');
const { answer, serve } = require('../serve');
const { SessionStore } = require('./sessions');

const JOB_COUNT = 5;
const SUBAGENT_EVERY = 3;

const keepAll = process.argv.includes('--leak');
const keepEvery = numberOf('--keep-every', 1);
// What an entry costs V8: as this V8 measures it, in a store of its own.
const scratch = new SessionStore(true);
const entryBytes = heapBytesOf((_, index) => scratch.begin('cron', `measured-${index}`));
scratch.entries.clear();
const store = new SessionStore(keepAll, keepEvery);

async function takeTurn({ turn, prompt }, response) {
  const run = store.begin('cron', `job-${turn % JOB_COUNT}:run:${randomUUID()}`);
  const report = await work(run, prompt);
  if (turn % SUBAGENT_EVERY === 0) {
    const subagent = store.begin('subagent', randomUUID());
    report.push(...(await work(subagent, 'look closer')));
    store.finish(subagent);
  }
  store.finish(run);
  answer(response, { key: run.key, report });
}

/** What a run does: reads its skills, and writes a report that nobody keeps. */
async function work(entry, prompt) {
  await new Promise((resolve) => setImmediate(resolve));
  const words = prompt.split(' ');
  return entry.skillsSnapshot
    .filter((skill, index) => index % 4 === 0 && skill.instructions.length > 0)
    .map(({ name, requires }) => ({ name, tool: requires.bins, notes: words.join('-') }));
}

function truth() {
  const file = path.join(__dirname, 'sessions.js');
  // V8's profiler names the caller of what its optimiser has inlined.
  const place = { ...placeOf(file, 'takeSnapshot'), inlined_into: [] };
  place.inlined_into.push(placeOf(file, 'begin'), placeOf(__filename, 'takeTurn'));
  const retained = store.retained();
  const heapBytes = Math.round(retained.entries * entryBytes);
  return { leak: keepAll, retained: [{ ...retained, heap_bytes: heapBytes, ...place }] };
}

serve(takeTurn, truth, { leak: keepAll });
