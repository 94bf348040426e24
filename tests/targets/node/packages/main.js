// Applications of packages that nobody here wrote, each with a leak in a line of its own.
//
//   NODE_PATH=.../node_modules node main.js express|ws|undici|sharp
//
// Says that it is ready, waits for a line on stdin, works, prints what the line retains, and ends
// with stdin. All traffic is on loopback, and within this process.
'use strict';

const path = require('node:path');
const { placeOf } = require('../lines');

// Turns that warm up, before anybody looks, and turns that count.
const WARM_TURNS = 20;
const TURNS = 150;

async function main() {
  const name = process.argv[2];
  const file = path.join(__dirname, 'apps', `${name}.js`);
  const app = require(file);
  const turn = await app.start();
  const retained = () => ({
    entries: app.kept.length,
    bytes: app.kept.reduce((sum, one) => sum + one.length, 0),
  });
  for (let number = 0; number < WARM_TURNS; number++) await turn(number);
  const before = retained();
  process.stdin.once('data', async () => {
    for (let number = 0; number < TURNS; number++) await turn(number);
    const after = retained();
    const [entries, bytes] = [after.entries - before.entries, after.bytes - before.bytes];
    console.log(JSON.stringify({ entries, bytes, ...placeOf(file, app.leakingFunction) }));
  });
  const { pid, version } = process;
  console.log(JSON.stringify({ ready: true, pid, version }));
}

process.stdin.on('end', () => process.exit(0));
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
