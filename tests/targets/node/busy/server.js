// A busy server: each turn parses and writes JSON, joins and cuts Buffers, hashes, and compresses,
// with and without the thread pool. It keeps nothing.
//
//   node server.js     prints its port, serves until its stdin closes
'use strict';

const crypto = require('node:crypto');
const { promisify } = require('node:util');
const zlib = require('node:zlib');
const { serve } = require('../serve');

const PART_COUNT = 60;
// Beyond what Node serves from its pools.
const PART_BYTES = 33_000;

const deflate = promisify(zlib.deflate);
let turns = 0;

class Part {
  constructor(index, prompt) {
    this.index = index;
    this.bytes = Buffer.allocUnsafeSlow(PART_BYTES);
    this.bytes.write(prompt, index);
  }

  get digest() {
    return crypto.createHash('sha256').update(this.bytes).digest('hex');
  }

  head(length) {
    return this.bytes.buffer.slice(0, length);
  }
}

function partsOf(prompt) {
  const parts = [];
  for (let index = 0; index < PART_COUNT; index++) parts.push(new Part(index, prompt));
  return parts;
}

function summarise(parts) {
  return parts.map((part) => ({ index: part.index, size: part.head(64 + part.index).byteLength }));
}

const compress = (text) => zlib.gzipSync(text, { level: 1 });

async function takeTurn({ turn, prompt }, response) {
  const parts = partsOf(prompt);
  const text = JSON.stringify({ turn, prompt, parts: summarise(parts) });
  const digests = parts.filter((_, index) => index % 20 === 0).map((part) => part.digest);
  const [whole, later] = [compress(text), await deflate(Buffer.from(text))];
  const copy = JSON.parse(zlib.gunzipSync(whole).toString());
  turns++;
  response.setHeader('Content-Type', 'application/json');
  response.write(JSON.stringify({ turn: copy.turn, digests }));
  response.end(JSON.stringify({ sizes: [whole.length, later.length] }));
}

serve(takeTurn, () => ({ turns, parts_of_a_turn: PART_COUNT }), {});
