// Entries of a session store: one for each run of a cron job, and for each sub-agent.
//
// Each entry carries a copy of everything that the skills were when it began. With `keepAll` no
// entry is ever pruned, or one in so many is not. That is the leak, and the only one.
'use strict';

const { nowNs } = require('../books');

// Entries that are kept for people to look at.
const KEPT_ENTRIES = 24;
const SKILL_COUNT = 40;
// Characters of a skill's instructions: 41 KB for all of them.
const INSTRUCTION_CHARACTERS = 980;

class SessionStore {
  constructor(keepAll, keepEvery = 1) {
    this.keepAll = keepAll;
    this.keepEvery = keepEvery;
    this.begun = 0;
    this.lost = new Map();
    this.lastNs = 0;
    this.entries = new Map();
    this.skills = loadSkills();
  }

  /** Enters a run: "cron" or "subagent". */
  begin(kind, id) {
    const entry = {
      key: `agent:main:${kind}:${id}`,
      startedAt: Date.now(),
      skillsSnapshot: this.takeSnapshot(kind),
      usage: null,
    };
    this.entries.set(entry.key, entry);
    return entry;
  }

  /** A copy that later changes of the skills do not reach. */
  takeSnapshot(kind) {
    const { skills } = this;
    if (kind === 'subagent') return structuredClone(skills); // retains
    const text = JSON.stringify(skills);
    return JSON.parse(text); // retains
  }

  finish(entry) {
    entry.usage = { input: entry.skillsSnapshot.length, output: 1 };
    this.begun += 1;
    if (this.keepAll && this.begun % this.keepEvery === 0) {
      // Nobody will find it again.
      this.entries.delete(entry.key);
      this.lost.set(entry.key, entry);
      this.lastNs = nowNs();
    }
    this.prune();
  }

  prune() {
    for (const key of this.entries.keys()) {
      if (this.entries.size <= KEPT_ENTRIES) return;
      this.entries.delete(key);
    }
  }

  retained() {
    let bytes = 0;
    for (const { skillsSnapshot } of this.lost.values()) {
      for (const { instructions } of skillsSnapshot) bytes += instructions.length;
    }
    return { entries: this.lost.size, bytes, last_ns: this.lastNs };
  }
}

function loadSkills() {
  return Array.from({ length: SKILL_COUNT }, (_, index) => ({
    name: `skill-${index}`,
    version: `1.${index}.0`,
    instructions: `How skill ${index} is used. `.repeat(99).slice(0, INSTRUCTION_CHARACTERS),
    requires: { bins: `tool-${index}`, env: `SKILL_${index}_TOKEN` },
  }));
}

module.exports = { SessionStore };
