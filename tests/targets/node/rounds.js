// With each line on stdin a round, in which a function keeps 40 Buffers of 16000 bytes for ever.
// Prints its truth as one JSON line after each round, and ends with stdin.
'use strict';

const kept = [];

function keep(count) {
  for (let i = 0; i < count; i++) {
    kept.push(Buffer.allocUnsafeSlow(16000)); // this line keeps it
  }
}

require('node:readline').createInterface({ input: process.stdin }).on('line', () => {
  keep(40);
  const bytes = kept.reduce((sum, buffer) => sum + buffer.length, 0);
  console.log(JSON.stringify({ function: 'keep', blocks: kept.length, bytes }));
});
