// Node's own http client, one scenario per run: node node_client.js SCENARIO PORT [PORT]
// Prints what it saw as JSON. Written for Node 6 and everything since.
'use strict';

const http = require('http');

const scenario = process.argv[2];
const port = Number(process.argv[3]);
const otherPort = Number(process.argv[4]);
const seen = { events: [] };

function done() {
  console.log(JSON.stringify(seen));
}

function collect(stream, callback) {
  const chunks = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  stream.on('end', () => callback(Buffer.concat(chunks).toString('latin1')));
}

function options(path, more) {
  return Object.assign({ host: '127.0.0.1', port: port, path: path }, more);
}

const scenarios = {
  // Twenty requests, one after the other, on one socket of a keep-alive agent.
  agent() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set();
    let left = 20;
    (function next() {
      http.get(options('/report', { agent: agent }), (res) => {
        ports.add(res.socket.localPort);
        collect(res, (body) => {
          seen.last = JSON.parse(body);
          if (--left) return setImmediate(next);
          agent.destroy();
          seen.sockets = ports.size;
          done();
        });
      });
    })();
  },

  // Many at once, through four sockets.
  parallel() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
    let left = 40;
    seen.sizes = [];
    for (let n = 1; n <= 40; n++) {
      http.get(options('/drip?size=' + n, { agent: agent }), (res) => {
        collect(res, (body) => {
          seen.sizes.push(body.length);
          if (--left === 0) {
            agent.destroy();
            done();
          }
        });
      });
    }
  },

  chunked() {
    const req = http.request(options('/report', { method: 'POST' }), (res) => {
      collect(res, (body) => {
        seen.report = JSON.parse(body);
        done();
      });
    });
    for (let n = 0; n < 100; n++) req.write(Buffer.alloc(10000, n));
    req.addTrailers({ 'X-Sum': 'c0ffee' });
    req.end();
  },

  echo() {
    const req = http.request(options('/echo', { method: 'PUT' }), (res) => {
      seen.status = res.statusCode;
      collect(res, (body) => {
        seen.size = body.length;
        done();
      });
    });
    let left = 200;
    (function more() {
      while (left-- > 0) if (!req.write(Buffer.alloc(20000))) return req.once('drain', more);
      req.end();
    })();
  },

  trailers() {
    http.get(options('/trailers'), (res) => {
      seen.announced = res.headers.trailer;
      collect(res, (body) => {
        seen.body = body;
        seen.trailers = res.trailers;
        seen.rawTrailers = res.rawTrailers;
        done();
      });
    });
  },

  continue() {
    const headers = { 'Expect': '100-continue', 'Content-Length': 4 };
    const req = http.request(options('/report', { method: 'POST', headers: headers }));
    req.on('continue', () => {
      seen.events.push('continue');
      req.end('body');
    });
    req.on('response', (res) => {
      seen.events.push('response');
      collect(res, (body) => {
        seen.report = JSON.parse(body);
        done();
      });
    });
    req.flushHeaders();
  },

  information() {
    const req = http.get(options('/hints'));
    req.on('information', (info) => {
      seen.events.push(info.statusCode);
      seen.link = info.headers.link;
    });
    req.on('response', (res) => {
      seen.events.push(res.statusCode);
      collect(res, (body) => {
        seen.body = body;
        done();
      });
    });
  },

  // The manual's own examples, but for the names.
  upgrade() {
    const headers = { 'Connection': 'Upgrade', 'Upgrade': 'shout' };
    const req = http.request(options('/', { headers: headers }));
    req.end();
    req.on('upgrade', (res, socket, head) => {
      seen.status = res.statusCode;
      let text = head.toString();
      socket.on('data', (chunk) => {
        text += chunk;
        if (text.endsWith('QUIET\n')) socket.end();
      });
      socket.on('end', () => {
        seen.text = text;
        done();
      });
      socket.write('loud, then quiet\n');
    });
  },

  connect() {
    const req = http.request(options('127.0.0.1:' + otherPort, { method: 'CONNECT' }));
    req.end();
    req.on('connect', (res, socket, head) => {
      seen.status = res.statusCode;
      seen.head = head.length;
      socket.write('GET /report HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n');
      collect(socket, (answer) => {
        seen.report = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4));
        done();
      });
    });
  },

  abort() {
    const req = http.get(options('/hang'), (res) => {
      seen.status = res.statusCode;
      res.on('aborted', () => seen.events.push('aborted'));
      req.abort();
    });
    req.on('error', () => {});
    req.on('close', done);
  },
};

scenarios[scenario]();
