// LiveKit's JavaScript client in headless Chromium: commands and events are lines of JSON, as in ../native_peer.py.
// CHROMIUM names the browser; the modules are found from the working directory. Ends when its input ends.
'use strict';
const http = require('http');
const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { createRequire } = require('module');
const from = createRequire(path.join(process.cwd(), 'package.json'));
const { chromium } = from('playwright-core');
const client = fs.readFileSync(from.resolve('livekit-client'));

const say = (fields) => process.stdout.write(JSON.stringify(fields) + '\n');

async function main() {
  const server = http.createServer((request, response) => {
    const script = request.url === '/client.js';
    const own = request.url === '/page.js';
    response.setHeader('Content-Type', script || own ? 'text/javascript' : 'text/html');
    if (script) response.end(client);
    else if (own) response.end(fs.readFileSync(path.join(__dirname, 'page.js')));
    else response.end('<!doctype html><script src="/client.js"></script><script src="/page.js"></script>');
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
      '--autoplay-policy=no-user-gesture-required',
      // without this the browser hides its loopback address behind a name that only mDNS knows
      '--disable-features=WebRtcHideLocalIpsWithMdns', '--allow-loopback-in-peer-connection'],
  });
  const page = await browser.newPage();
  page.on('pageerror', (error) => process.stderr.write(`${error}\n`));
  page.on('console', (message) => process.stderr.write(`${message.text()}\n`));
  await page.exposeFunction('tell', say);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  say({ event: 'ready' });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, do: name, ...args } = JSON.parse(line);
    try {
      const result = await page.evaluate(([name, args]) => window.commands[name](args), [name, args]);
      say({ reply: id, result: result === undefined ? null : result });
    } catch (error) {
      say({ reply: id, error: String(error) });
    }
  }
  await page.evaluate(() => window.commands.leave({})).catch(() => {});
  await browser.close();
  server.close();
  process.exit(0);
}

main().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
