// A chat gateway in TypeScript: every twelve turns one conversation ends and another begins.
//
//   POST /turn    {"turn": number, "prompt": text}; answers with the reply as JSON
//   GET  /truth   what finished sessions still hold, and where it was allocated
//
//   node gateway.js [--leak] [--keep-every 1] [--churn-bytes-per-turn 0] [--port 0]
//
// Prints its port, serves until its stdin closes.

import * as http from 'node:http';
import { AddressInfo } from 'node:net';
import * as path from 'node:path';
import { SessionManager } from './session_manager';

const TURNS_OF_A_SESSION = 12;
const CONCURRENT_SESSIONS = 8;
const REPLY_WORDS = 700;
const CACHED_REPLIES = 32;
const MAX_BODY_BYTES = 1 << 20;

interface Turn {
  turn: number;
  prompt: string;
}

const keepFinished = process.argv.includes('--leak');
const { churn, heapBytesOf, nowNs, numberOf } = require(path.join(sourceFolder(), '../../books.js'));
const manager = new SessionManager(keepFinished, numberOf('--keep-every', 1));
let turns = 0;
let lastNs = 0;
/** An innocent cache: it is full after a second. */
const replies = new Map<number, string>();

function sessionKey(turn: number): string {
  const slot = turn % CONCURRENT_SESSIONS;
  const round = Math.floor(turn / CONCURRENT_SESSIONS / TURNS_OF_A_SESSION);
  return `agent:main:conversation-${slot}-${round}`;
}

function isLastTurn(turn: number): boolean {
  return Math.floor(turn / CONCURRENT_SESSIONS) % TURNS_OF_A_SESSION === TURNS_OF_A_SESSION - 1;
}

/** What a model would say. */
function replyTo(turn: number): string {
  const key = turn % 97;
  let reply = replies.get(key);
  if (reply === undefined) {
    reply = Array.from({ length: REPLY_WORDS }, (_, at) => `word${(turn * 31 + at * 7) % 997}`).join(' ');
    replies.set(key, reply);
    const oldest = replies.keys().next().value;
    if (replies.size > CACHED_REPLIES && oldest !== undefined) replies.delete(oldest);
  }
  return reply;
}

async function takeTurn({ turn, prompt }: Turn): Promise<object> {
  const session = manager.open(sessionKey(turn));
  manager.appendToHistory(session, 'user', prompt);
  await new Promise((resolve) => setImmediate(resolve));
  const reply = replyTo(turn);
  const message = manager.appendToHistory(session, 'assistant', reply);
  if (isLastTurn(turn) && manager.finish(session)) lastNs = nowNs();
  return { session: session.key, tokens: message.tokens.length, reply };
}

/** What settings and messages cost V8: as this V8 measures it, in a manager of its own. */
function measured(): Record<string, number> {
  const scratch = new SessionManager(true);
  const prompt = 'turn 0 '.padEnd(900, 'what does the gateway hold? ');
  let [count, turn] = [0, 0];
  const session = scratch.open('measured');
  const messages = heapBytesOf(() => {
    scratch.appendToHistory(session, 'user', prompt);
    return scratch.appendToHistory(session, 'assistant', replyTo(turn++));
  });
  const settings = heapBytesOf(() => scratch.open(`agent:main:measured-${count++}`));
  const perSession = Object.keys(session.settings).length;
  return { appendToHistory: messages / 2, initialiseSession: settings / perSession };
}
const heapBytes = measured();
replies.clear();

function truth(): object {
  // The sources lie where the source map beside this file says.
  const { placeOf } = require(path.join(sourceFolder(), '../../lines.js'));
  const file = path.join(sourceFolder(), 'session_manager.ts');
  const retained = manager.retained().map((one) => ({
    ...one,
    heap_bytes: Math.round(one.entries * heapBytes[one.function]!),
    last_ns: lastNs,
    ...placeOf(file, one.function),
  }));
  const companions = ['takeTurn', 'SessionManager.open'];
  return { leak: keepFinished, turns, now_ns: nowNs(), sessions: manager.size, retained, companions };
}

function sourceFolder(): string {
  const map = require('node:fs').readFileSync(`${__filename}.map`, 'utf8');
  const { sources } = JSON.parse(map) as { sources: string[] };
  return path.dirname(path.resolve(__dirname, sources[0]!));
}

async function bodyOf(request: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new RangeError('the request is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

async function handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  const isTurn = request.url === '/turn';
  if (isTurn) {
    turns++;
    churn();
  }
  const answer = isTurn ? await takeTurn(JSON.parse(await bodyOf(request)) as Turn) : truth();
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(answer));
}

const server = http.createServer((request, response) => {
  handle(request, response).catch((error: Error) => {
    console.error(error);
    response.destroy(error);
  });
});
server.keepAliveTimeout = 30_000;
server.listen(numberOf('--port', 0), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  const ready = { ready: true, port, pid: process.pid, version: process.version };
  console.log(JSON.stringify({ ...ready, leak: keepFinished }));
});
process.stdin.on('end', () => process.exit(0)).resume();
