// A server on node:http whose answers are Buffers: four of 16 KiB outside V8's heap, joined and
// hashed. Prints its port as JSON, serves until its stdin closes.
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');

const PARTS = 4;
const PART_BYTES = 16 * 1024;

function part(number, index) {
  const bytes = Buffer.allocUnsafeSlow(PART_BYTES);
  return bytes.fill(`part ${index} of ${number} `);
}

let answered = 0;

const server = http.createServer((request, response) => {
  answered++;
  const parts = [];
  for (let index = 0; index < PARTS; index++) parts.push(part(answered, index));
  const body = Buffer.concat(parts);
  const digest = crypto.createHash('sha1').update(body).digest('hex');
  response.writeHead(200, { 'Content-Length': body.length, 'X-Digest': digest });
  response.end(body);
});
server.keepAliveTimeout = 120_000;

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ port: server.address().port, pid: process.pid }));
});
