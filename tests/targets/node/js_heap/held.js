// Sessions that are finished and never leave their Map. Prints how many there are for each line on
// stdin, and how long its loop was kept waiting since the line before.
'use strict';

class Session {
  constructor(id) {
    this.id = id;
    this.skills = [`everything that session-${id} can do`, { level: id }];
  }
}

class Gateway {
  constructor() {
    this.sessions = new Map();
  }
  open(id) {
    this.sessions.set(`session-${id}`, new Session(id));
  }
}

const gateway = new Gateway();
for (let id = 0; id < 4321; id++) gateway.open(id);
globalThis.serve = function serve(id) {
  return gateway.open(id);
};

let [last, longest] = [Date.now(), 0];
setInterval(() => {
  const now = Date.now();
  longest = Math.max(longest, now - last);
  last = now;
}, 1);
process.stdin.on('data', () => {
  console.log(JSON.stringify({ sessions: gateway.sessions.size, longest_ms: longest }));
  longest = 0;
});
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ ready: true }));
