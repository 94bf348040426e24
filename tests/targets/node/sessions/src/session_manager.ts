// Sessions of a gateway and what was said in them.
//
// With `keepFinished` the Map never loses a finished session, or one in so many, and its history
// stays with it. That is the leak, and the only one.

/** Numbers that stand for the words of a text, as a model wants them. */
type Tokens = number[];

export interface Message {
  role: 'user' | 'assistant';
  text: string;
  tokens: Tokens;
  cost: { input: number; output: number };
  at: number;
}

export interface Session {
  key: string;
  settings: Record<string, { name: string; value: string; scopes: string[] }>;
  conversationHistory: Message[];
  finished: boolean;
}

/** Settings that each session begins with. */
const SETTING_COUNT = 64;

/** What is retained, by the function that allocated it. */
export interface Retained {
  function: string;
  entries: number;
  bytes: number;
}

export class SessionManager {
  private readonly sessions = new Map<string, Session>();
  private initialisedCount = 0;

  private finishedCount = 0;

  constructor(
    private readonly keepFinished: boolean,
    private readonly keepEvery = 1,
  ) {}

  get size(): number {
    return this.sessions.size;
  }

  /** The session of that key, made where there is none. */
  open(key: string): Session {
    return this.sessions.get(key) ?? this.initialiseSession(key);
  }

  private initialiseSession(key: string): Session {
    const settings: Session['settings'] = {};
    this.initialisedCount += 1;
    for (let index = 0; index < SETTING_COUNT; index++) {
      const name = `setting-${this.initialisedCount}-${index}`;
      settings[name] = { name, value: `${key}:${index}:default`, scopes: [`${name}:user`, `${name}:agent`] }; // retains
    }
    const session: Session = { key, settings, conversationHistory: [], finished: false }; // retains
    this.sessions.set(key, session); // retains
    return session;
  }

  /** Notes what was said: the text, its tokens, and what it cost. */
  appendToHistory(session: Session, role: Message['role'], text: string): Message {
    const tokens: Tokens = [];
    const words = text.split(' ');
    for (const word of words) {
      let hash = 2166136261;
      for (let at = 0; at < word.length; at++) {
        hash = Math.imul(hash ^ word.charCodeAt(at), 16777619) >>> 0;
      }
      tokens.push(hash + 0.5); // retains
    }
    const share = tokens.length / (words.length + 1);
    const cost = role === 'user' ? { input: share, output: 0 } : { input: 0, output: share }; // retains
    const message: Message = { role, text: words.join('\u00a0'), tokens, cost, at: Date.now() }; // retains
    session.conversationHistory.push(message); // retains
    return message;
  }

  /** Ends a session; what it held is to go. Tells whether it stays. */
  finish(session: Session): boolean {
    session.finished = true;
    this.finishedCount += 1;
    const stays = this.keepFinished && this.finishedCount % this.keepEvery === 0;
    if (!stays) this.sessions.delete(session.key);
    return stays;
  }

  /** What finished sessions still hold: entries, and what V8 needs for them at least. */
  retained(): Retained[] {
    let [settings, messages, tokens, characters] = [0, 0, 0, 0];
    for (const session of this.sessions.values()) {
      if (!session.finished) continue;
      settings += Object.keys(session.settings).length;
      messages += session.conversationHistory.length;
      for (const message of session.conversationHistory) {
        tokens += message.tokens.length;
        characters += message.text.length;
      }
    }
    // A double is 8 bytes, a character of these texts 1; objects and strings have headers.
    return [
      { function: 'appendToHistory', entries: messages, bytes: 8 * tokens + characters },
      { function: 'initialiseSession', entries: settings, bytes: 160 * settings },
    ];
  }
}
