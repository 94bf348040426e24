// One case for each way in which Node comes to allocate outside the JavaScript heap. In each, three
// small functions call each other, which the optimiser inlines; the last one allocates.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const zlib = require('node:zlib');
const { mark } = require('../truth');

function bufferAlloc(bytes) {
  return bufferAllocMiddle(bytes);
}
function bufferAllocMiddle(bytes) {
  return bufferAllocLeaf(bytes);
}
function bufferAllocLeaf(bytes) {
  return mark(Buffer.alloc(bytes));
}

function allocUnsafeSlow(bytes) {
  return allocUnsafeSlowMiddle(bytes);
}
function allocUnsafeSlowMiddle(bytes) {
  return allocUnsafeSlowLeaf(bytes);
}
function allocUnsafeSlowLeaf(bytes) {
  return mark(Buffer.allocUnsafeSlow(bytes));
}

const SLICED = new ArrayBuffer(1 << 20);
function arrayBufferSlice(bytes) {
  return arrayBufferSliceMiddle(bytes);
}
function arrayBufferSliceMiddle(bytes) {
  return arrayBufferSliceLeaf(bytes);
}
function arrayBufferSliceLeaf(bytes) {
  return mark(SLICED.slice(0, bytes));
}

function typedArray(bytes) {
  return typedArrayMiddle(bytes);
}
function typedArrayMiddle(bytes) {
  return typedArrayLeaf(bytes);
}
function typedArrayLeaf(bytes) {
  return mark(new Uint8Array(bytes));
}

function cloned(bytes) {
  const source = SLICED_BY_SIZE(bytes);
  return clonedLeaf(source);
}
function clonedLeaf(source) {
  return mark(structuredClone(source));
}
/** A source that is allocated once for each size, by a function of its own. */
function SLICED_BY_SIZE(bytes) {
  let source = sources.get(bytes);
  if (!source) sources.set(bytes, (source = new ArrayBuffer(bytes)));
  return source;
}
const sources = new Map();

/** One chunk of output, which stays whole behind the short result. */
function zlibInflate(bytes) {
  return zlibInflateMiddle(bytes);
}
function zlibInflateMiddle(bytes) {
  return zlibInflateLeaf(Math.max(bytes, zlib.constants.Z_MIN_CHUNK));
}
function zlibInflateLeaf(chunkSize) {
  return mark(zlib.inflateSync(DEFLATED, { chunkSize }));
}
const DEFLATED = zlib.deflateSync('short');

function randomBytes(bytes) {
  return randomBytesMiddle(bytes);
}
function randomBytesMiddle(bytes) {
  return randomBytesLeaf(bytes);
}
function randomBytesLeaf(bytes) {
  return mark(crypto.randomBytes(bytes));
}

function scrypt(bytes) {
  return scryptMiddle(Math.max(bytes, 1));
}
function scryptMiddle(bytes) {
  return scryptLeaf(bytes);
}
function scryptLeaf(bytes) {
  return mark(crypto.scryptSync('password', 'salt', bytes, { N: 2, r: 1 }));
}

function shake(bytes) {
  return shakeMiddle(Math.max(bytes, 1));
}
function shakeMiddle(outputLength) {
  return shakeLeaf(crypto.createHash('shake256', { outputLength }));
}
function shakeLeaf(hash) {
  return mark(hash.digest());
}

const FOLDER = fs.mkdtempSync(path.join(os.tmpdir(), 'outlive-matrix-'));
process.on('exit', () => fs.rmSync(FOLDER, { recursive: true, force: true }));

/** A file of this size, written the first time that it is asked for. */
function fileOf(bytes) {
  const file = path.join(FOLDER, String(bytes));
  if (!written.has(bytes)) {
    fs.writeFileSync(file, '');
    fs.truncateSync(file, bytes);
    written.add(bytes);
  }
  return file;
}
const written = new Set();

function readFile(bytes) {
  return readFileMiddle(fileOf(bytes));
}
function readFileMiddle(file) {
  return readFileLeaf(file);
}
function readFileLeaf(file) {
  return mark(fs.readFileSync(file));
}

const QUICK = 12_000;
const SLOW = 2_000;

module.exports = {
  fileOf,
  cases: [
    { hold: bufferAlloc, hotRuns: QUICK },
    { hold: allocUnsafeSlow, hotRuns: QUICK },
    { hold: arrayBufferSlice, hotRuns: QUICK },
    { hold: typedArray, hotRuns: QUICK },
    { hold: cloned, hotRuns: SLOW },
    { hold: zlibInflate, hotRuns: SLOW },
    { hold: randomBytes, hotRuns: QUICK },
    { hold: scrypt, hotRuns: SLOW },
    { hold: shake, hotRuns: SLOW },
    { hold: readFile, hotRuns: SLOW },
  ],
};
