// The same in a worker thread: another isolate, with code of its own.
'use strict';

const { parentPort } = require('node:worker_threads');
const { runCases } = require('../driver');
const { mark } = require('../truth');

function inWorker(bytes) {
  return inWorkerMiddle(bytes);
}
function inWorkerMiddle(bytes) {
  return inWorkerLeaf(bytes);
}
function inWorkerLeaf(bytes) {
  return mark(Buffer.alloc(bytes));
}

function inWorkerCallback(bytes) {
  return [bytes].map((size) => mark(new ArrayBuffer(size)));
}

const cases = [inWorker, inWorkerCallback].map((hold) => ({ hold, hotRuns: 12_000 }));
parentPort.once('message', async ({ firstBytes }) => {
  parentPort.postMessage(await runCases(cases, firstBytes));
  // Lives on, and what it holds with it.
  parentPort.on('message', () => {});
});
