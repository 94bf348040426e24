// A chat over WebSockets that keeps every message with its sender before it.
'use strict';

const { WebSocket, WebSocketServer } = require('ws');

const MESSAGE = Buffer.alloc(40_000, 'm');
const kept = [];

class Room {
  constructor(name) {
    this.header = Buffer.from(`${name}: `);
  }

  onMessage(socket, data) {
    const entry = Buffer.concat([this.header, data]); // retains
    kept.push(entry);
    socket.send(String(entry.length));
  }
}

async function start() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await new Promise((resolve) => server.once('listening', resolve));
  const room = new Room('room');
  server.on('connection', (socket) => {
    socket.on('message', (data) => room.onMessage(socket, data));
  });
  const client = new WebSocket(`ws://127.0.0.1:${server.address().port}`);
  await new Promise((resolve, reject) => client.once('open', resolve).once('error', reject));
  return () => new Promise((resolve) => {
    client.once('message', resolve);
    client.send(MESSAGE);
  });
}

module.exports = { start, kept, leakingFunction: 'onMessage' };
