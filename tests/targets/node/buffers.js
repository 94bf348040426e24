// Holds Buffers from three named functions, and prints how many bytes each of them asked for.
// Every Buffer here is larger than Buffer.poolSize, so each has a backing store of its own
// outside the JavaScript heap.
'use strict';

const KIB = 1024;
const held = [];

/** Zeroed memory: V8 gets it from calloc. */
function holdZeroed(bytes) {
  held.push(Buffer.alloc(bytes));
}

/** Memory as it comes: Node gets it from malloc. */
function holdUninitialised(bytes) {
  held.push(Buffer.allocUnsafeSlow(bytes));
}

const ways = [
  { hold: holdZeroed, blocks: 40, bytes: 300 * KIB + 8 },
  { hold: holdUninitialised, blocks: 30, bytes: 500 * KIB + 24 },
];

process.stdin.once('data', () => {
  for (const { hold, blocks, bytes } of ways) {
    for (let i = 0; i < blocks; i++) hold(bytes);
  }
  const sites = ways.map(({ hold, blocks, bytes }) => ({
    function: hold.name, live_blocks: blocks, live_bytes: blocks * bytes,
  }));
  console.log(JSON.stringify({ sites, held: held.length }));
});
process.stdin.on('end', () => process.exit(0));
console.log('ready');
