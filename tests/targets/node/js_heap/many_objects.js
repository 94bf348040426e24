// Objects of which V8 makes a snapshot for seconds. Answers each line on stdin.
'use strict';

globalThis.kept = [];
for (let at = 0; at < 1500000; at++) globalThis.kept.push({ at: { at } });
process.stdin.on('data', () => console.log(JSON.stringify({ kept: globalThis.kept.length })));
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ ready: true }));
