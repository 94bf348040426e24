'use strict';
const { readSync, writeSync } = require('fs'); Error.stackTraceLimit = 100;
const mode = process.argv[2];
let isLast = false;

function stop(n) { if (isLast) { if (mode === 'deoptimised') each('%DeoptimizeFunction(f)'); writeSync(1, new Error().stack + '\nready\n'); readSync(0, Buffer.alloc(1)); } return n; }

function block(n) {
  const before = n + 1;
  return stop(before) + 1;
}

class Session {
  #secret = 1;
  n = this.#inner(2);

  constructor(n) {
    this.given = n;
  }

  flush(n) {
    return block(n) + this.#secret;
  }

  #inner(n) {
    return this.flush(n) +
      1;
  }

  get size() {
    return new Session(3).n + 1;
  }

  static make(x) {
    return new Größe().size + x;
  }
}

class Größe extends Session {
  #secret = 0;
  constructor() { super(1); this.n += this.#secret; }
}

const arrow = (x) =>
  Session.make(x) + 1;

// V8 keeps so many names in a table of their own.
const names = Array.from({ length: 90 }, (_, index) => 'v' + index);
const crowded = (0, eval)(`(function crowded(x, next) {
  let ${names.join(' = 1, ')} = 1;
  const sum = () => ${names.join(' + ')};
  return next(x) + sum();
})`);

function small(x) { return crowded(x, arrow) + 1; }

function* generate(x) {
  yield 1;
  yield small(x);
}

const object = {
  method(x) {
    let sum = 0;
    for (const value of generate(x)) {
      sum += value;
    }
    return sum;
  },
  ['com' + 'puted'](x) { return this.method(x); },
};

const evaluated = (0, eval)('(function inEval(x, object) {\n  return object.computed(x) + 1;\n})');
const nameless = eval('1;\n(x => {\n  return evaluated(x, object); })');
const made = new Function('x', 'nameless', 'return nameless(x) + 1;');

async function later(x) {
  return [x].map((y) => made(y, nameless))[0];
}

const assigned = function (x) {
  return [0].map(() => made(x, nameless))[0];
};

const functions = [block, Session.prototype.flush, Session.make, Session, Größe, arrow, crowded, small,
  generate, object.method, object.computed, evaluated, nameless, made, later, assigned];

const each = (code) => {
  const apply = new Function('f', code);
  for (const f of functions) apply(f);
};

function run(times) {
  let sum = 0;
  for (let i = 0; i < times; i++) {
    sum += assigned(i);
    later(i);
  }
  return sum;
}

(async function main() {
  if (mode === 'warm') run(20);
  if (mode === 'hot') {
    for (let i = 0; i < 40; i++) {
      run(1000);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  if (['optimised', 'deoptimised', 'maglev'].includes(mode)) {
    new Function('f', '%NeverOptimizeFunction(f)')(stop);
    each('%PrepareFunctionForOptimization(f)');
    run(50);
    const maglev = mode === 'maglev' && Number(process.versions.node.split('.')[0]) >= 22;
    each(maglev ? '%OptimizeMaglevOnNextCall(f)' : '%OptimizeFunctionOnNextCall(f)');
    run(2);
  }
  isLast = true;
  await later(1);
}());
