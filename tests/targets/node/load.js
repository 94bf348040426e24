// A load on one of the servers here: open loop at a fixed rate, bounded in time and concurrency.
//
//   node load.js --url http://127.0.0.1:PORT [--rate 40] [--duration 30] [--concurrency 12]
//
// Turns start on schedule whether or not earlier ones have ended; one that would exceed the
// concurrency is skipped and counted. Prints a summary as JSON and ends by itself, or with stdin.
'use strict';

const http = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { parseArgs } = require('node:util');

const TURN_TIMEOUT_MS = 20_000;
const PROMPT_BYTES = 900;

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    rate: { type: 'string', default: '40' },
    duration: { type: 'string', default: '30' },
    concurrency: { type: 'string', default: '12' },
  },
});
const [rate, seconds, concurrency] = [values.rate, values.duration, values.concurrency].map(Number);
const { hostname, port } = new URL(values.url);
if (!['127.0.0.1', 'localhost', '[::1]'].includes(hostname)) {
  throw new Error('only loopback may be loaded');
}
const agent = new http.Agent({ keepAlive: true, maxSockets: concurrency });

function turn(number) {
  const prompt = `turn ${number} `.padEnd(PROMPT_BYTES, 'what does the gateway hold? ');
  const body = JSON.stringify({ turn: number, prompt });
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const options = { hostname, port, agent, path: '/turn', method: 'POST', headers };
    const request = http.request(options, (response) => {
      let bytes = 0;
      response.on('data', (chunk) => (bytes += chunk.length));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(bytes);
        else reject(new Error(`status ${response.statusCode}`));
      });
    });
    request.setTimeout(TURN_TIMEOUT_MS, () => request.destroy(new Error('too slow')));
    request.on('error', reject);
    request.end(body);
  });
}

async function main() {
  const summary = { turns: 0, failed: 0, skipped: 0, received_bytes: 0, seconds: 0 };
  const running = new Set();
  const begin = performance.now();
  for (let number = 0; number / rate < seconds; number++) {
    const due = begin + (number * 1000) / rate;
    if (due > performance.now()) await sleep(due - performance.now());
    if (running.size >= concurrency) {
      summary.skipped++;
      continue;
    }
    const one = turn(number)
      .then((bytes) => {
        summary.turns++;
        summary.received_bytes += bytes;
      })
      .catch((error) => {
        summary.failed++;
        summary.first_failure ??= String(error);
      })
      .finally(() => running.delete(one));
    running.add(one);
  }
  await Promise.all(running);
  summary.seconds = Math.round(performance.now() - begin) / 1000;
  console.log(JSON.stringify(summary));
}

process.stdin.on('end', () => process.exit(0)).resume();
main().then(() => process.exit(0));
