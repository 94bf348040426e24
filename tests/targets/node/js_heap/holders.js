// Objects that are held in every way that programs have, 40 of each class. Prints,
// for a line on stdin, how many of each class there are, and by which way each is held, where it is.
'use strict';

const { EventEmitter } = require('node:events');

const COUNT = 40;
const truth = {};

/** Makes `COUNT` objects of a class, which `hold` gets one by one. */
function held(Class, way, hold) {
  for (let at = 0; at < COUNT; at++) hold(new Class(), at);
  truth[Class.name] = { count: COUNT, way };
}

const byMap = new Map();
held(class HeldByMap {}, 'byMap -> Map[*]', (object, at) => byMap.set(at, object));
const bySet = new Set();
held(class HeldBySet {}, 'bySet -> Set[*]', (object) => bySet.add(object));
const byArray = [];
held(class HeldByArray {}, 'byArray -> Array[*]', (object) => byArray.push(object));

// One closure with its own variable for each.
const closures = [];
held(class HeldByClosure {}, 'enclosing() variable enclosed', (enclosed) => {
  closures.push(function enclosing() { return enclosed; });
});

// Of the module alone.
const byConst = { first: null };
held(class HeldByConst {}, 'byConst -> Object.list -> Array[*]', (object) => {
  byConst.list = [...(byConst.list || []), object];
});

class Registry {
  static known = [];
}
held(class HeldByStatic {}, 'Registry().known -> Array[*]', (object) => Registry.known.push(object));

const emitter = new EventEmitter();
emitter.setMaxListeners(0);
held(class HeldByListener {}, 'onDone() variable listened', (listened) => {
  emitter.on('done', function onDone() { return listened; });
});

const timers = [];
held(class HeldByTimer {}, 'later() variable delayed', (delayed) => {
  timers.push(setTimeout(function later() { return delayed; }, 1e8).unref());
});
// Nobody but Node's own list has these.
held(class HeldByInterval {}, 'Timeout._timerArgs -> Array[*]', (object) => {
  setInterval(() => {}, 1e8, object).unref();
});

// One promise that nobody resolves, and what waits for it.
const never = new Promise(() => {});
held(class HeldByReaction {}, 'then() variable awaited', (awaited) => {
  never.then(function then() { return awaited; });
});
async function waits(suspended) {
  await never;
  return suspended;
}
held(class HeldByAwait {}, 'Generator', (object) => { waits(object); });

const keys = [];
const byWeakMap = new WeakMap();
held(class HeldByWeakMap {}, 'Key, key of a WeakMap', (object) => {
  class Key {}
  const key = new Key();
  keys.push(key);
  byWeakMap.set(key, object);
});

// Weak references hold nothing: these go.
const weak = [];
held(class HeldByNobody {}, null, (object) => weak.push(new WeakRef(object)));
truth.HeldByNobody.count = 0;
const both = [];
const weakly = [];
held(class HeldOnce {}, 'both -> Array[*]', (object) => {
  weakly.push(new WeakRef(object));
  both.push(object);
});

globalThis.program = function program() {
  return [byMap, bySet, byArray, closures, byConst, Registry, emitter, timers, keys, both];
};
globalThis.weakly = function weakly_() {
  return [byWeakMap, weak, weakly, never];
};

process.stdin.on('data', () => console.log(JSON.stringify(truth)));
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ ready: true }));
