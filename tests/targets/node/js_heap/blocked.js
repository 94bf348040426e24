// Stands still in native code from when a line comes on stdin, for as many milliseconds as it says.
'use strict';

const kept = [];
setInterval(() => kept.push(Buffer.allocUnsafeSlow(64 * 1024)), 20);

process.stdin.on('data', (line) => {
  require('fs').writeSync(1, JSON.stringify({ blocked: true }) + '\n');
  require('child_process').execFileSync('sleep', [String(Number(line) / 1000)]);
  console.log(JSON.stringify({ blocks: kept.length }));
});
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ ready: true }));
