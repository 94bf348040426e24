// Holds blocks of known sizes below known chains of calls, each while its code was cold, warm and
// hot, and prints the chains as V8 itself tells them.
//
//   node main.js      says that it is ready, waits for a line on stdin, works, prints the truth, and
//                     ends with stdin
//
// A frame is [function, file, line], leaf first; frames of Node's own modules are left out.
'use strict';

const path = require('node:path');
const { Worker } = require('node:worker_threads');
const { FIRST_BYTES, STEP_BYTES, runCases } = require('./driver');

async function main() {
  const { cases: moduleCases } = await import('./cases/module.mjs');
  const sources = ['memory', 'shapes', 'deferred', 'addon'];
  const cases = sources.flatMap((name) => require(`./cases/${name}`).cases).concat(moduleCases);
  const { pid, version } = process;
  console.log(JSON.stringify({ ready: true, pid, version }));
  await new Promise((resolve) => process.stdin.once('data', resolve));
  const told = await runCases(cases);
  const inWorker = await runInWorker(FIRST_BYTES + told.length * STEP_BYTES);
  console.log(JSON.stringify({ version, cases: [...told, ...inWorker] }));
}

function runInWorker(firstBytes) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(path.join(__dirname, 'cases/worker.js'));
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.postMessage({ firstBytes });
  });
}

process.stdin.on('end', () => process.exit(0));
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
