// The chain of calls at the place of an allocation, as V8 itself tells it to `new Error()`.
'use strict';

const { fileURLToPath } = require('node:url');

let chain = null;
let isRecording = false;

/** Begins to take the chains of allocations. */
function record() {
  isRecording = true;
  chain = null;
}

/** Ends it, and returns the chain that was taken. */
function recorded() {
  isRecording = false;
  return chain;
}

/** Passes on what was just allocated on the caller's line. */
function mark(value) {
  if (isRecording) take(mark);
  return value;
}

/** Takes the chain of whoever called `below`. */
function take(below) {
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.prepareStackTrace = (_, sites) => sites;
  Error.stackTraceLimit = Infinity;
  const holder = {};
  Error.captureStackTrace(holder, below);
  const sites = holder.stack;
  Object.assign(Error, { prepareStackTrace, stackTraceLimit });
  // What waits for a promise is in no stack of the machine.
  chain = sites.filter((site) => !site.isAsync()).map(frame).filter((one) => one !== null);
}

/** [function, file, line]; null for Node's and V8's own functions. */
function frame(site) {
  const file = site.getFileName() ?? site.getScriptNameOrSourceURL();
  if (!site.isEval() && (file === null || file === undefined)) return null;
  if (file?.startsWith('node:')) return null;
  const path = file?.startsWith('file://') ? fileURLToPath(file) : file ?? null;
  return [site.getFunctionName() ?? '', path, site.getLineNumber()];
}

module.exports = { mark, record, recorded };
