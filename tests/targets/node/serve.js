// How the servers here start: on a free loopback port, or that of --port or PORT, announced as one
// JSON line. They end with their stdin.
'use strict';

const http = require('node:http');

const { churn, nowNs, numberOf } = require('./books');

const HOST = '127.0.0.1';
const MAX_BODY_BYTES = 1 << 20;

/**
 * Serves `POST /turn` by `turn(body, response)` and `GET /truth` by `truth()`; the turn's body is
 * parsed JSON.
 */
function serve(turn, truth, announce) {
  let turns = 0;
  const server = http.createServer((request, response) => {
    handle(request, response).catch((error) => {
      console.error(error);
      response.destroy(error);
    });
  });
  async function handle(request, response) {
    if (request.method === 'POST' && request.url === '/turn') {
      turns++;
      churn();
      return turn(JSON.parse((await bodyOf(request)).toString()), response);
    }
    if (request.url === '/truth') {
      return answer(response, { turns, now_ns: nowNs(), companions: [], ...truth() });
    }
    return answer(response, { ok: true });
  }
  server.keepAliveTimeout = 30_000;
  server.listen(numberOf('--port', Number(process.env.PORT ?? 0)), HOST, () => {
    const { port } = server.address();
    const ready = { ready: true, host: HOST, port, pid: process.pid, version: process.version };
    console.log(JSON.stringify({ ...ready, ...announce }));
  });
  process.stdin.on('end', () => process.exit(0)).resume();
}

async function bodyOf(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new RangeError('the request is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function answer(response, value) {
  const text = JSON.stringify(value);
  response.setHeader('Content-Type', 'application/json');
  response.end(text);
}

module.exports = { answer, bodyOf, serve };
