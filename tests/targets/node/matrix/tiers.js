// Which of V8's tiers a function's code is of. No flag is given to Node for it: the intrinsic is
// allowed at run time.
'use strict';

const v8 = require('node:v8');

v8.setFlagsFromString('--allow-natives-syntax');
// Functions get hot after a tenth of the calls that it takes otherwise: what is compiled, and how,
// stays the same.
const major = Number(process.versions.node.split('.')[0]);
v8.setFlagsFromString(
  major < 22 ? '--interrupt-budget=8000' : '--invocation-count-for-turbofan=600',
);
const statusOf = new Function('f', 'return %GetOptimizationStatus(f)');

function neverHot(value) {
  return value;
}

// The bits moved by one between releases, and kept their distances from that of a function which
// is interpreted.
neverHot();
const INTERPRETED = 31 - Math.clz32(statusOf(neverHot));
const BITS = [
  ['turbofan', INTERPRETED - 1],
  ['maglev', INTERPRETED - 2],
  ['baseline', INTERPRETED + 8],
  ['interpreted', INTERPRETED],
];

/** The tier of a function's code, or "unknown" where it has none yet. */
function tierOf(f) {
  const status = statusOf(f);
  const found = BITS.find(([, bit]) => status & (1 << bit));
  return found ? found[0] : 'unknown';
}

const RANK = ['unknown', 'interpreted', 'baseline', 'maglev', 'turbofan'];

/** Whether a function's code is of this tier, or of a higher one. */
function hasReached(f, tier) {
  return RANK.indexOf(tierOf(f)) >= RANK.indexOf(tier);
}

module.exports = { tierOf, hasReached };
