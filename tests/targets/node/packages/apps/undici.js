// A client on undici that keeps a copy of each piece of a response. undici's parser is WebAssembly,
// and calls the application back from there.
'use strict';

const http = require('node:http');
const { Writable } = require('node:stream');
const undici = require('undici');

const BODY = Buffer.alloc(40_000, 'b');
const kept = [];

class Transcript extends Writable {
  _write(chunk, _encoding, done) {
    const copy = Buffer.allocUnsafeSlow(chunk.length); // retains
    chunk.copy(copy);
    kept.push(copy);
    done();
  }
}

async function start() {
  const server = http.createServer((request, response) => response.end(BODY));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = new undici.Client(`http://127.0.0.1:${server.address().port}`);
  return () => client.stream({ path: '/', method: 'GET' }, () => new Transcript());
}

module.exports = { start, kept, leakingFunction: '_write' };
