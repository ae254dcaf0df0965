'use strict';
// Node's server; runs on Node 6 and later.
var http = require('http');

http.createServer(function (request, response) {
  if (request.method !== 'POST') {
    response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 11 });
    response.end('hello world');
    return;
  }
  var parts = [];
  request.on('data', function (part) { parts.push(part); });
  request.on('end', function () {
    var body = JSON.stringify(JSON.parse(Buffer.concat(parts).toString()));
    response.writeHead(200, {
      'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body)
    });
    response.end(body);
  });
}).listen(0, '127.0.0.1', 511, function () { console.log('port ' + this.address().port); });
