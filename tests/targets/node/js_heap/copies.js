// Sessions that never leave their Map, 25 more each second, each with a copy of a text of 41 KB.
// Prints for each line on stdin how many there are, and who makes the copies.
'use strict';

const { placeOf } = require('../lines');

const TEXT_CHARACTERS = 41_000;
const SESSIONS_A_SECOND = 25;
const text = 'What the agent is told before each turn. '.repeat(1000).slice(0, TEXT_CHARACTERS);

class Session {
  constructor(id, prompt) {
    this.id = id;
    this.prompt = prompt;
  }
}

class Gateway {
  constructor() {
    this.finished = new Map();
  }
  finish(id) {
    this.finished.set(`session-${id}`, new Session(id, copyOf(text)));
  }
}

/** A string of its own, as one that comes from a file or a request is. */
function copyOf(content) {
  return JSON.parse(JSON.stringify(content)); // retains
}

const gateway = new Gateway();
globalThis.serve = function serve(id) {
  gateway.finish(id);
};

let next = 0;
setInterval(() => globalThis.serve(next++), 1000 / SESSIONS_A_SECOND);
process.stdin.on('data', () => {
  const { finished } = gateway;
  console.log(JSON.stringify({ sessions: finished.size, ...placeOf(__filename, 'copyOf') }));
});
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ ready: true }));
