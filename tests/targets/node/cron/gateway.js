// A gateway whose work is cron jobs and sub-agents: each turn runs one job, and every third of them
// starts a sub-agent.
//
//   node gateway.js [--leak]     prints its port, serves until its stdin closes
'use strict';

const path = require('node:path');
const { randomUUID } = require('node:crypto');
const { placeOf } = require('../lines');
const { answer, serve } = require('../serve');
const { SessionStore } = require('./sessions');

const JOB_COUNT = 5;
const SUBAGENT_EVERY = 3;

const keepAll = process.argv.includes('--leak');
const store = new SessionStore(keepAll);

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
  const place = placeOf(path.join(__dirname, 'sessions.js'), 'takeSnapshot');
  return { leak: keepAll, retained: [{ ...store.retained(), ...place }] };
}

serve(takeTurn, truth, { leak: keepAll });
