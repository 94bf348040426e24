// A worker thread that keeps objects; the main thread keeps none.
'use strict';

const { Worker, isMainThread } = require('worker_threads');

const kept = [];

function keepInWorker(id) {
  const parts = [];
  for (let i = 0; i < 400; i++) parts.push({ id, part: i, text: `part ${i} of ${id}` });
  kept.push(parts);
}

if (isMainThread) {
  new Worker(__filename);
  process.stdin.on('data', () => {
    console.log(JSON.stringify({ function: keepInWorker.name, file: __filename, line: 8 }));
  });
  process.stdin.on('end', () => process.exit(0));
  console.log(JSON.stringify({ ready: true }));
} else {
  let next = 0;
  setInterval(() => keepInWorker(`item-${next++}`), 50);
}
