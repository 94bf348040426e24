// One case for each kind of function that JavaScript has, and for each way in which one is called.
// All allocate in the same way, each with its own Buffer.alloc on its own line.
'use strict';

const { EventEmitter } = require('node:events');
const vm = require('node:vm');
const { mark } = require('../truth');

class Base {
  constructor(bytes) {
    this.kept = mark(Buffer.alloc(bytes));
  }
}
class Derived extends Base {
  constructor(bytes) {
    super(bytes);
    this.isDerived = true;
  }
}
function constructors(bytes) {
  return new Derived(bytes);
}

class Holder {
  #bytes = 0;
  set size(bytes) {
    this.#bytes = bytes;
    this.kept = mark(Buffer.alloc(bytes));
  }
  get kilobytes() {
    return mark(Buffer.alloc(this.#bytes));
  }
  plain(bytes) {
    return this.#hidden(bytes);
  }
  #hidden(bytes) {
    return mark(Buffer.alloc(bytes));
  }
  static make(bytes) {
    return mark(Buffer.alloc(bytes));
  }
  lower(bytes) {
    this.#bytes = bytes;
    return this.kilobytes;
  }
}
const holder = new Holder();
function methods(bytes) {
  return holder.plain(bytes);
}
function staticMethods(bytes) {
  return Holder.make(bytes);
}
function getters(bytes) {
  return holder.lower(bytes);
}
function setters(bytes) {
  holder.size = bytes;
  return holder.kept;
}

function fields(bytes) {
  class WithField {
    kept = mark(Buffer.alloc(bytes));
  }
  return new WithField().kept;
}

function* generate(bytes) {
  yield 1;
  yield mark(Buffer.alloc(bytes));
}
function generators(bytes) {
  const values = generate(bytes);
  values.next();
  return values.next().value;
}

function anonymous(bytes) {
  return [bytes].map((size) => mark(Buffer.alloc(size)));
}

function immediate(bytes) {
  return (function () {
    return mark(Buffer.alloc(bytes));
  })();
}

const table = { 'a key': function (bytes) { return mark(Buffer.alloc(bytes)); } };
function inferred(bytes) {
  return table['a key'](bytes);
}

const evaluated = eval(`(function evaluatedLeaf(bytes) {
  const kept =
    mark(Buffer.alloc(bytes));
  return kept;
})
//# sourceURL=evaluated-by-name.js`);
function evalNamed(bytes) {
  return evaluated(bytes);
}

const nameless = eval('(function namelessLeaf(bytes) { return mark(Buffer.alloc(bytes)); })');
function evalNameless(bytes) {
  return nameless(bytes);
}

const made = new Function('mark', 'bytes', 'return mark(Buffer.alloc(bytes));');
function functionConstructor(bytes) {
  return made(mark, bytes);
}

const inContext = vm.runInThisContext(
  '(mark) => function ranInContext(bytes) {\n  return mark(Buffer.alloc(bytes));\n}',
  { filename: 'ran-in-context.js', lineOffset: 40 },
)(mark);
function scripts(bytes) {
  return inContext(bytes);
}

function recursive(bytes, depth = 6) {
  if (depth === 0) return mark(Buffer.alloc(bytes));
  return recursive(bytes, depth - 1);
}

function guarded(bytes) {
  try {
    if (bytes < 0) throw new RangeError('negative');
    return mark(Buffer.alloc(bytes));
  } finally {
    guarded.runs = (guarded.runs ?? 0) + 1;
  }
}

function caught(bytes) {
  try {
    throw new Error('on purpose');
  } catch {
    return mark(Buffer.alloc(bytes));
  }
}

function comparators(bytes) {
  let kept;
  [2, 1].sort(function compare(a, b) {
    kept = mark(Buffer.alloc(bytes));
    return a - b;
  });
  return kept;
}

function replacers(bytes) {
  let kept;
  'x'.replace(/x/, function replacer() {
    kept = mark(Buffer.alloc(bytes));
    return 'y';
  });
  return kept;
}

function toJson(bytes) {
  let kept;
  JSON.stringify({
    toJSON() {
      kept = mark(Buffer.alloc(bytes));
      return 1;
    },
  });
  return kept;
}

const proxy = new Proxy({}, {
  get(_, name) {
    return mark(Buffer.alloc(Number(name)));
  },
});
function proxies(bytes) {
  return proxy[bytes];
}

function bound(bytes) {
  return this.make(bytes);
}
const boundToMaker = bound.bind({
  make(bytes) {
    return mark(Buffer.alloc(bytes));
  },
});
function bindings(bytes) {
  return Reflect.apply(boundToMaker, null, [bytes]);
}

const emitter = new EventEmitter();
emitter.on('bytes', function listener(bytes) {
  emitter.kept = mark(Buffer.alloc(bytes));
});
function listeners(bytes) {
  emitter.emit('bytes', bytes);
  return emitter.kept;
}

function executors(bytes) {
  let kept;
  new Promise(function executor(resolve) {
    kept = mark(Buffer.alloc(bytes));
    resolve();
  });
  return kept;
}

const QUICK = 12_000;
const holds = [
  constructors, methods, staticMethods, getters, setters, fields, generators, anonymous, immediate,
  inferred, evalNamed, evalNameless, functionConstructor, scripts, recursive, guarded, caught,
  comparators, replacers, toJson, proxies, bindings, listeners, executors,
];
module.exports = { cases: holds.map((hold) => ({ hold, hotRuns: QUICK })) };
