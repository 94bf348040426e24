// A web application on express whose audit middleware keeps every body that was ever posted.
'use strict';

const http = require('node:http');
const express = require('express');

const BODY = Buffer.alloc(40_000, 'a');
const kept = [];

function audit(request, response, next) {
  kept.push(Buffer.from(request.body)); // retains
  next();
}

async function start() {
  const app = express();
  app.use(express.raw({ type: '*/*', limit: '1mb' }), audit);
  app.post('/items/:id', (request, response) => {
    response.json({ id: request.params.id, bytes: request.body.length });
  });
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const agent = new http.Agent({ keepAlive: true });
  const headers = { 'Content-Type': 'application/octet-stream' };
  const options = { port: server.address().port, host: '127.0.0.1', method: 'POST', agent, headers };
  return (number) => new Promise((resolve, reject) => {
    const request = http.request({ ...options, path: `/items/${number}` }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`));
      response.on('data', () => {}).on('end', resolve);
    });
    request.on('error', reject);
    request.end(BODY);
  });
}

module.exports = { start, kept, leakingFunction: audit.name };
