'use strict';
// Node's client: PORT SECONDS CHAINS, where a chain sends one request after the other. Node 6 and later.
var http = require('http');

var port = +process.argv[2], seconds = +process.argv[3], chains = +process.argv[4];
var agent = new http.Agent({ keepAlive: true, maxSockets: chains, maxFreeSockets: chains });
var count = 0, running = chains, began, before;

function next() {
  http.get({ port: port, host: '127.0.0.1', path: '/', agent: agent }, function (response) {
    response.on('data', function () {});
    response.on('end', function () {
      count += 1;
      var took = (Date.now() - began) / 1000;
      if (took < seconds) {
        next();
        return;
      }
      running -= 1;
      if (running === 0) {
        var used = process.cpuUsage(before);
        console.log('requests ' + count + ' ' + took + ' ' + (used.user + used.system) / 1e6);
        process.exit(0);
      }
    });
  });
}

began = Date.now() + 200; // what comes before warms up
for (var chain = 0; chain < chains; chain += 1) next();
setTimeout(function () {
  count = 0;
  began = Date.now();
  before = process.cpuUsage();
}, 200);
