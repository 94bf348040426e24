// Where things stand in a source, found by marks in it: the truth about lines needs no counting.
'use strict';

const fs = require('node:fs');

/**
 * The place of a function: its first line, and those lines between it and the next function that
 * end with the comment `// retains`.
 */
function placeOf(file, functionName) {
  const lines = fs.readFileSync(file, 'utf8').split('\n');
  const first = lines.findIndex((line) => line.includes(`${functionName}(`) && line.endsWith('{'));
  if (first < 0) throw new Error(`${file} has no function ${functionName}`);
  const retaining = [];
  for (let at = first + 1; at < lines.length && !/^ {0,2}\}/.test(lines[at]); at++) {
    if (lines[at].endsWith('// retains')) retaining.push(at + 1);
  }
  return { function: functionName, file, defined_line: first + 1, lines: retaining };
}

module.exports = { placeOf };
