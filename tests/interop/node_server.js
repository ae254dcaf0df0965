// The server that nhttp's client meets in test_client_against_servers.py. ES5, for Node 6.
'use strict';
var http = require('http');
var crypto = require('crypto');

var connections = 0;

function report(req, res) {
  var hash = crypto.createHash('sha256');
  var size = 0;
  req.on('data', function(chunk) { hash.update(chunk); size += chunk.length; });
  req.on('end', function() {
    res.setHeader('Content-Type', 'application/json');
    res.end(JSON.stringify({
      method: req.method, url: req.url, version: req.httpVersion, headers: req.headers,
      trailers: req.trailers, size: size, sha256: hash.digest('hex'), connections: connections
    }));
  });
}

var server = http.createServer(function(req, res) {
  var path = req.url.split('?')[0];
  if (path === '/report') {
    report(req, res);
  } else if (path === '/echo') {
    res.writeHead(201);
    req.pipe(res);
  } else if (path === '/big') {
    res.setHeader('Content-Length', 8 * 1024 * 1024);
    for (var i = 0; i < 8; i++) res.write(Buffer.alloc(1024 * 1024, 65 + i));
    res.end();
  } else if (path === '/chunked') {
    res.writeHead(200, {Trailer: 'X-Sum'});
    res.write('one');
    res.write('two');
    res.addTrailers({'X-Sum': 'c0ffee'});
    res.end();
  } else if (path === '/204' || path === '/304') {
    res.writeHead(Number(path.slice(1)));
    res.end();
  } else if (path === '/redirect') {
    res.writeHead(302, {Location: '/report'});
    res.end('moved');
  } else if (path === '/close') {
    res.writeHead(200, {Connection: 'close'});
    res.end('bye');
  } else {
    res.setHeader('Content-Length', 5);
    res.end('hello');
  }
});
server.on('checkContinue', function(req, res) { res.writeContinue(); report(req, res); });
server.on('connection', function() { connections += 1; });
server.on('upgrade', function(req, socket, head) {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n');
  socket.on('data', function(data) { socket.end(data.toString().toUpperCase()); });
});
server.on('connect', function(req, socket, head) {
  socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
  socket.on('data', function(data) { socket.end('tunnel ' + data); });
});
server.listen(0, '127.0.0.1', function() { console.log(server.address().port); });
// Whoever started it holds its standard input: it ends with the test.
process.stdin.on('end', function() { process.exit(0); }).resume();
