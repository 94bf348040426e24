// Keeps objects from one named function, at a pace at which no optimiser inlines it, and drops as
// many others. Prints its truth for each line on stdin.
'use strict';

const kept = new Map();
const passing = [];

function keepSession(id) {
  const history = [];
  for (let i = 0; i < 400; i++) history.push({ id, turn: i, text: `turn ${i} of ${id}` });
  kept.set(id, history);
}

function dropRequest(id) {
  passing.push({ id, parts: new Array(2000).fill(id) });
  if (passing.length > 20) passing.shift();
}

let next = 0;
setInterval(() => {
  next++;
  if (process.argv[2] !== 'steady') keepSession(`session-${next}`);
  dropRequest(next);
}, 50);

process.stdin.on('data', () => {
  console.log(JSON.stringify({
    function: keepSession.name, file: __filename, line: 8, sessions: kept.size,
    heap_bytes: process.memoryUsage().heapUsed, node_options: process.env.NODE_OPTIONS ?? null,
  }));
});
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ ready: true }));
