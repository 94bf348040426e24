// Runs cases cold, warm and hot, and says what each holds by then, and below which calls.
'use strict';

const { setTimeout: sleep } = require('node:timers/promises');
const { hasReached, tierOf } = require('./tiers');
const { record, recorded } = require('./truth');

// Blocks of a temperature: a sum of them tells which are missing.
const TEMPERATURES = [
  { name: 'cold', blocks: 1 },
  { name: 'warm', blocks: 2, reach: 'baseline', atMost: 2_000 },
  { name: 'hot', blocks: 4, reach: 'turbofan' },
];

// Runs between two looks at a function's tier.
const STRIDE = 50;

// All blocks of cases are larger than what Node and V8 allocate beside them, and no two cases have
// the same size.
const FIRST_BYTES = 100_000;
const STEP_BYTES = 160;

// Code that is compiled anew replaces what a stack has just been seen in, and V8 throws the old code
// away. A program that lives for hours leaves more time than this to read its names.
const PAUSE_MS = 30;

const kept = [];

/** Runs all of them; sizes begin at `firstBytes`. */
async function runCases(cases, firstBytes = FIRST_BYTES) {
  const told = cases.map(({ hold, inside, outer }, index) => ({
    name: hold.name,
    inside: inside ?? null,
    outer: outer ?? null,
    bytes: firstBytes + index * STEP_BYTES,
    temperatures: [],
    frames: null,
  }));
  for (const temperature of TEMPERATURES) {
    for (const [index, one] of cases.entries()) {
      await heat(one, temperature);
      // What has no code yet is interpreted by its first call.
      const before = tierOf(one.hold);
      for (let block = 0; block < temperature.blocks; block++) {
        record();
        kept.push(await holdOnce(one.hold, told[index].bytes));
        compare(told[index], recorded());
      }
      await sleep(PAUSE_MS);
      const { name, blocks } = temperature;
      const tier = before === 'unknown' ? tierOf(one.hold) : before;
      told[index].temperatures.push({ name, tier, blocks });
    }
  }
  return told;
}

/** Every block of a case is allocated at the end of the same chain. */
function compare(told, frames) {
  if (told.inside !== null) return;
  if (frames === null) throw new Error(`${told.name} marked nothing`);
  told.frames ??= frames;
  if (JSON.stringify(told.frames) !== JSON.stringify(frames)) {
    throw new Error(`${told.name}: ${JSON.stringify([told.frames, frames])}`);
  }
}

/** Runs a case, with nothing to hold, until its code is of the tier; within bounds. */
async function heat({ hold, hotRuns }, { reach, atMost = hotRuns }) {
  if (reach === undefined) return;
  const runs = Math.min(atMost, hotRuns);
  for (let run = 0; run < runs; run++) {
    const result = hold(0);
    if (result instanceof Promise) await result;
    if (run % STRIDE === 0 && hasReached(hold, reach)) return;
  }
}

async function holdOnce(hold, bytes) {
  await null;
  const value = hold(bytes);
  return value instanceof Promise ? await value : value;
}

module.exports = { runCases, FIRST_BYTES, STEP_BYTES };
