// The same in an ES module, whose name is a URL.
import truth from '../truth.js';

function inModule(bytes) {
  return inModuleMiddle(bytes);
}
const inModuleMiddle = (bytes) => {
  return inModuleLeaf(bytes);
};
export default function inModuleLeaf(bytes) {
  return truth.mark(Buffer.alloc(bytes));
}

const defaultClass = class {
  static #kept = [];
  static keep(bytes) {
    this.#kept.push(truth.mark(Buffer.alloc(bytes)));
    return this.#kept.pop();
  }
};
function inModuleClass(bytes) {
  return defaultClass.keep(bytes);
}

export const cases = [inModule, inModuleClass].map((hold) => ({ hold, hotRuns: 12_000 }));
