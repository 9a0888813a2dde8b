// Print keypoints as they come: node listen.mjs [--address tcp://127.0.0.1:5581] [--camera cam1]
//   --latest   fast messages, only the newest; those older than 100 ms are dropped
//   --json     a line of JSON for each message (64-bit integers as strings)
//   --count N  end after N messages
// Without --json: one block a second. Ctrl-C ends it.

import { parseArgs } from 'node:util';
import { Subscriber } from 'zeromq';
import { Gaps, WireError, decodeFast, decodeMeta, decodePose, point } from './rtface.mjs';

const MAX_AGE_MS = 100;
const SILENCE_MS = 2000;

const { values: options } = parseArgs({
  options: {
    address: { type: 'string', default: 'tcp://127.0.0.1:5581' },
    camera: { type: 'string', default: 'cam1' },
    latest: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    count: { type: 'string', default: 'Infinity' },
  },
});
const { address, camera, latest, json } = options;
const count = Number(options.count);
// Ages compare clocks: only on the machine that runs rtface. There, on Linux, both sides read
// CLOCK_MONOTONIC (process.hrtime here).
const local = /^tcp:\/\/(127\.0\.0\.1|localhost):/.test(address);

const settings = {
  linger: 0,
  receiveTimeout: SILENCE_MS,
  heartbeatInterval: 1000,
  heartbeatTimeout: 15_000,
};
// Names have a socket of their own: one that keeps only the newest destroys multipart messages.
const metaSocket = new Subscriber(settings);
const dataSocket = new Subscriber({
  ...settings,
  ...(latest ? { conflate: true } : { receiveHighWaterMark: 100_000 }),
});

const gaps = new Gaps();
let names = [];
let foreign = 0;
let stale = 0;
let shown = { at: process.hrtime.bigint(), received: 0 };

process.on('SIGINT', () => {
  console.error(`${gaps.received} messages, ${gaps.lost} lost`);
  process.exit(0);
});

metaSocket.connect(address);
metaSocket.subscribe(`meta.${camera}.`);
names = (await next(metaSocket, decodeMeta, true)).keypoints;
void followNames();
dataSocket.connect(address);
dataSocket.subscribe(latest ? `fast.${camera}.` : `pose.${camera}.`);
while (gaps.received < count) {
  const message = await next(dataSocket, latest ? decodeFast : decodePose, true);
  const age_ms = local ? Number(process.hrtime.bigint() - message.t_done_ns) / 1e6 : null;
  if (latest && age_ms > MAX_AGE_MS) {
    stale += 1;
    continue;
  }
  gaps.add(message);
  if (json) show(message, age_ms);
  else showSometimes(message, age_ms);
}
// Closed, not exited: lines that still wait in a pipe are written.
dataSocket.close();
metaSocket.close();

/** The next message that decodes, null once closed. The socket reconnects by itself. */
async function next(socket, decoder, loud) {
  for (;;) {
    try {
      return decoder(await socket.receive());
    } catch (error) {
      if (error instanceof WireError) {
        foreign += 1;
        console.error(error.message);
      } else if (socket.closed) return null;
      else if (error.code !== 'EAGAIN') throw error;
      else if (loud) console.error(`nothing of ${camera} from ${address} for ${SILENCE_MS} ms`);
    }
  }
}

/** Every run sends its own names. */
async function followNames() {
  for (let meta; (meta = await next(metaSocket, decodeMeta, false)); ) names = meta.keypoints;
}

function show(message, age_ms) {
  const { arrays, keypoints, ...fields } = message;
  const points = Object.fromEntries(names.map((name, row) => [name, point(message, row)]));
  const line = { ...fields, keypoints: [...keypoints], points, age_ms };
  console.log(JSON.stringify(line, (_, v) => (typeof v === 'bigint' ? String(v) : v)));
}

function showSometimes(message, age_ms) {
  const now = process.hrtime.bigint();
  const seconds = Number(now - shown.at) / 1e9;
  if (seconds < 1) return;
  const rate = (gaps.received - shown.received) / seconds;
  shown = { at: now, received: gaps.received };
  console.log(
    `seq ${message.seq}  ${rate.toFixed(1)}/s  age ${age_ms?.toFixed(2) ?? '?'} ms  ` +
      `${latest ? 'passed over' : 'lost'} ${gaps.lost}  stale ${stale}  foreign ${foreign}  ` +
      `restarts ${gaps.restarts}`,
  );
  for (let row = 0; row < message.K; row += 1) {
    const { x, y, score } = point(message, row);
    console.log(
      `  ${(names[row] ?? `row ${row}`).padEnd(16)} ` +
        `(${x.toFixed(1)}, ${y.toFixed(1)}) px  score ${score.toFixed(2)}`,
    );
  }
}
