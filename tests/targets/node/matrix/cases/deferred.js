// Cases whose allocation comes later than the call: after an await, from a timer, out of a stream.
// Where Node's own code allocates with none of ours on the stack, `inside` names its module. `outer`
// is that of its caller: the optimiser may put the one into the other, and code that V8 drops before
// it was read is told by its outermost function, and marked so.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const zlib = require('node:zlib');
const { setTimeout: sleep } = require('node:timers/promises');
const { mark } = require('../truth');
const { fileOf } = require('./memory');

async function afterAwait(bytes) {
  await null;
  return afterAwaitLeaf(bytes);
}
function afterAwaitLeaf(bytes) {
  return mark(Buffer.alloc(bytes));
}

/** The callers wait for promises: they are in no stack, and must not be made up. */
async function nestedAwaits(bytes) {
  return await nestedMiddle(bytes);
}
async function nestedMiddle(bytes) {
  return await nestedLeaf(bytes);
}
async function nestedLeaf(bytes) {
  await null;
  return mark(Buffer.alloc(bytes));
}

/** Up to the first await an async function is called like any other. */
async function beforeAwait(bytes) {
  return await beforeAwaitLeaf(bytes);
}
async function beforeAwaitLeaf(bytes) {
  const kept = mark(Buffer.alloc(bytes));
  await null;
  return kept;
}

async function* asyncGenerate(bytes) {
  yield 1;
  yield mark(Buffer.alloc(bytes));
}
async function asyncGenerators(bytes) {
  const kept = [];
  for await (const value of asyncGenerate(bytes)) kept.push(value);
  return kept;
}

function promiseCallbacks(bytes) {
  return Promise.resolve(bytes).then(function fulfilled(size) {
    return mark(Buffer.alloc(size));
  });
}

function microtasks(bytes) {
  return new Promise((resolve) => {
    queueMicrotask(function microtask() {
      resolve(mark(Buffer.alloc(bytes)));
    });
  });
}

function ticks(bytes) {
  return new Promise((resolve) => {
    process.nextTick(function tick(size) {
      resolve(mark(Buffer.alloc(size)));
    }, bytes);
  });
}

function immediates(bytes) {
  return new Promise((resolve) => {
    setImmediate(function immediately() {
      resolve(mark(Buffer.alloc(bytes)));
    });
  });
}

async function timers(bytes) {
  await sleep(1);
  return mark(Buffer.alloc(bytes));
}

/** The memory is Node's before it asks the thread pool to fill it. */
function randomBytesLater(bytes) {
  return new Promise((resolve, reject) => {
    const done = (error, kept) => (error ? reject(error) : resolve(kept));
    mark(crypto.randomBytes(bytes, done));
  });
}

function zlibLater(bytes) {
  const chunkSize = Math.max(bytes, zlib.constants.Z_MIN_CHUNK);
  return new Promise((resolve, reject) => {
    const done = (error, kept) => (error ? reject(error) : resolve(kept));
    mark(zlib.inflate(DEFLATED, { chunkSize }, done));
  });
}
const DEFLATED = zlib.deflateSync('short');

function readFileLater(bytes) {
  return new Promise((resolve, reject) => {
    fs.readFile(fileOf(bytes), (error, kept) => (error ? reject(error) : resolve(kept)));
  });
}

function fileStreams(bytes) {
  return new Promise((resolve, reject) => {
    const kept = [];
    fs.createReadStream(fileOf(bytes), { highWaterMark: Math.max(bytes, 1) })
      .on('data', (chunk) => kept.push(chunk))
      .on('error', reject)
      .on('end', () => resolve(kept));
  });
}

function blobs(bytes) {
  return blobOf(bytes).arrayBuffer();
}

async function blobStreams(bytes) {
  const kept = [];
  for await (const chunk of blobOf(bytes).stream()) kept.push(chunk);
  return kept;
}

/** The blob of this size, made the first time that it is asked for. */
function blobOf(bytes) {
  let blob = made.get(bytes);
  if (!blob) made.set(bytes, (blob = new Blob([new Uint8Array(bytes)])));
  return blob;
}
const made = new Map();

const OURS = [
  afterAwait, nestedAwaits, beforeAwait, asyncGenerators, promiseCallbacks, microtasks, ticks,
  immediates, randomBytesLater,
];

module.exports = {
  cases: [
    ...OURS.map((hold) => ({ hold, hotRuns: 8_000 })),
    { hold: timers, hotRuns: 100 },
    { hold: zlibLater, hotRuns: 1_000 },
    { hold: readFileLater, hotRuns: 1_000, inside: 'node:internal/fs/read/context|node:fs|node::fs::ReadFileJob' },
    { hold: fileStreams, hotRuns: 500, inside: 'node:internal/fs/streams', outer: 'node:internal/streams/readable' },
    { hold: blobs, hotRuns: 1_000, inside: 'node:internal/blob' },
    { hold: blobStreams, hotRuns: 500, inside: 'node:internal/blob' },
  ],
};
