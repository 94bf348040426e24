// Listens on the loopback device, in its main thread and in a worker, and counts who connects: what
// it does not expect could harm it.
'use strict';

const net = require('net');
const { Worker, isMainThread, parentPort } = require('worker_threads');

let connections = 0;

function listen(then) {
  const server = net.createServer((socket) => {
    socket.destroy();
    if (isMainThread) connections++; else parentPort.postMessage('connected');
  });
  server.listen(0, '127.0.0.1', then);
}

if (isMainThread) {
  const worker = new Worker(__filename);
  worker.on('message', (what) => {
    if (what === 'connected') connections++;
    else listen(() => console.log(JSON.stringify({ ready: true })));
  });
  process.stdin.on('data', () => console.log(JSON.stringify({ connections })));
  process.stdin.on('end', () => process.exit(0));
} else {
  listen(() => parentPort.postMessage('listening'));
}
