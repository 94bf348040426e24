// Handles SIGUSR1 itself, as gateways do that restart upon it, and says how often it came.
'use strict';

let signals = 0;
process.on('SIGUSR1', () => { signals++; });
if (process.argv[2] === 'removed') process.removeAllListeners('SIGUSR1');

process.stdin.on('data', () => console.log(JSON.stringify({ signals })));
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ ready: true }));
