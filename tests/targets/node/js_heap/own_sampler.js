// Samples its own heap all the time, as profilers do that run in production. Prints, asked by a
// line, whether its profile goes on.
'use strict';
const { Session } = require('node:inspector');

const session = new Session();
session.connect();
session.post('HeapProfiler.startSampling', { samplingInterval: 1024 });
const held = [];
setInterval(() => held.push({ text: 'x'.repeat(100) + held.length }), 1);

process.stdin.on('data', () => {
  session.post('HeapProfiler.getSamplingProfile', (error, answer) => {
    console.log(JSON.stringify({ samples: error ? 0 : answer.profile.samples.length }));
  });
});
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ ready: true }));
