// Decoders of rtface's stream, wire version 1 (docs/wire.md). No sockets here: bytes in, values out.
// Times (`*_ns`) and counters are BigInt: they exceed 2^53. Bytes that are not ours throw a WireError.

import { decode } from '@msgpack/msgpack';

const VERSION = 1;
const FAST_KEYPOINTS = 80; // offset of the first float
const FAST_POSE = 1; // the only kind of version 1
const NAME = '[a-z0-9_]{1,10}';
const U64 = 2n ** 64n;
const I64 = 2n ** 63n;

/** These bytes are no message of wire version 1; the message says what is wrong. */
export class WireError extends Error {
  name = 'WireError';

  constructor(why, options) {
    super(`not a message of rtface's wire version ${VERSION}: ${why}`, options);
  }
}

// Bits of `flags`; unknown bits are left alone.
export const UNCALIBRATED = 1;
export const FIRST = 2;
export const CAMERA_GAP = 4;
export const SKIPPED = 8;
export const PAST_FRAME_BUDGET = 16;

const COUNTERS = ['seq', 'frame_seq', 'segment', 'frame_id', 'lost_camera', 'skipped'];
const TIMES = [
  't_host_ns',
  't_read_ns',
  't_infer_ns',
  't_motion_ns',
  't_pupil_ns',
  't_rules_ns',
  't_done_ns',
  'exposure_ns',
];

/** The frames of a `pose.<cam>.` message -> its map with `keypoints` (Float32Array) and `K`. */
export function decodePose(frames) {
  const message = openMap(frames, 'pose');
  const fields = message.fields;
  check(typeof fields.session === 'string', 'session is not a string');
  check(typeof fields.timestamp === 'number', 'timestamp is not a float');
  for (const key of COUNTERS) fields[key] = integer(fields, key, 0n, U64);
  for (const key of [...TIMES, 'exposure_err_ns']) fields[key] = integer(fields, key, -I64, I64);
  fields.t_camera_ns = fields.t_camera_ns === null ? null : integer(fields, 't_camera_ns', -I64, U64);
  fields.time_source = Number(integer(fields, 'time_source', 0n, U64));
  fields.flags = Number(integer(fields, 'flags', 0n, 2n ** 32n));

  const described = fields.arrays;
  check(Array.isArray(described), 'arrays is not a list');
  const raw = frames.slice(2);
  check(raw.length === described.length, `${raw.length} raw frames for ${described.length} arrays`);
  const arrays = {};
  described.forEach((entry, i) => {
    check(Array.isArray(entry) && entry.length === 3, `arrays[${i}] is not [name, dtype, shape]`);
    const [name, dtype, shape] = entry;
    check(typeof name === 'string' && typeof dtype === 'string', `arrays[${i}]: name or dtype`);
    check(
      Array.isArray(shape) && shape.every((n) => Number.isSafeInteger(n) && n >= 0),
      `arrays[${i}]: shape`,
    );
    arrays[name] = { dtype, shape, bytes: raw[i] };
  });
  const own = arrays.keypoints;
  check(own !== undefined, 'no array named keypoints');
  check(own.dtype === '<f4', `keypoints are ${own.dtype}, not <f4`);
  check(own.shape.length === 2 && own.shape[1] === 3, `keypoints have shape ${own.shape}`);
  const K = own.shape[0];
  check(own.bytes.length === 12 * K, `${own.bytes.length} bytes for ${K} keypoints`);
  return { ...fields, arrays, K, keypoints: floats(own.bytes, 0, 3 * K) };
}

/** The one frame of a `fast.<cam>.` message -> its fields and `keypoints` (Float32Array). */
export function decodeFast(frame) {
  if (Array.isArray(frame)) {
    check(frame.length === 1, `a fast message has one frame, not ${frame.length}`);
    frame = frame[0];
  }
  check(frame instanceof Uint8Array, 'not bytes');
  check(frame.length >= FAST_KEYPOINTS, `${frame.length} bytes are too short for a fast message`);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const topic = topicOf(frame.subarray(0, 16), 'fast');
  version(view.getUint16(16, true));
  const kind = view.getUint16(18, true);
  check(kind === FAST_POSE, `kind ${kind} is not known`);
  const K = view.getUint32(24, true);
  check(
    frame.length === FAST_KEYPOINTS + 12 * K,
    `${frame.length} bytes for ${K} keypoints: ${FAST_KEYPOINTS + 12 * K} expected`,
  );
  return {
    topic,
    v: VERSION,
    kind,
    flags: view.getUint32(20, true),
    K,
    seq: view.getBigUint64(32, true),
    frame_seq: view.getBigUint64(40, true),
    exposure_ns: view.getBigInt64(48, true),
    exposure_err_ns: view.getBigInt64(56, true),
    t_host_ns: view.getBigInt64(64, true),
    t_done_ns: view.getBigInt64(72, true),
    keypoints: floats(frame, FAST_KEYPOINTS, 3 * K),
  };
}

/** The frames of a `meta.<cam>.` message -> its map. */
export function decodeMeta(frames) {
  const { fields } = openMap(frames, 'meta');
  check(typeof fields.session === 'string', 'session is not a string');
  check(
    Array.isArray(fields.keypoints) && fields.keypoints.every((n) => typeof n === 'string'),
    'keypoints are not a list of names',
  );
  return plain(fields);
}

/** The frames of a `status.` message -> its map. */
export function decodeStatus(frames) {
  const { fields } = openMap(frames, 'status');
  check(typeof fields.session === 'string', 'session is not a string');
  check(typeof fields.lifecycle === 'string', 'lifecycle is not a string');
  return plain(fields);
}

/** Keypoint `row` of a message as {x, y, score}. */
export function point(message, row) {
  const [x, y, score] = message.keypoints.subarray(3 * row, 3 * row + 3);
  return { x, y, score };
}

/** Counts what was received and lost of one stream; give it every message in order. */
export class Gaps {
  received = 0;
  lost = 0n;
  restarts = 0;
  #session;
  #next;

  add(message) {
    const session = message.session; // undefined in fast messages: there only seq tells
    const restarted = session !== this.#session || message.seq < this.#next;
    if (this.#next !== undefined) {
      if (restarted) this.restarts += 1;
      else this.lost += message.seq - this.#next;
    }
    this.#session = session;
    this.#next = message.seq + 1n;
    this.received += 1;
  }
}

function check(holds, why) {
  if (!holds) throw new WireError(why);
}

function version(v) {
  check(v === VERSION, `it is of version ${v}`);
}

function topicOf(bytes, kind) {
  const end = bytes.indexOf(0);
  const text = Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('latin1');
  const padded = end < 0 || bytes.subarray(end).every((b) => b === 0);
  const form = kind === 'status' ? /^status\.$/ : new RegExp(`^${kind}\\.${NAME}\\.$`);
  check(padded && form.test(text), `topic ${JSON.stringify(text)} for a ${kind} message`);
  return text;
}

function openMap(frames, kind) {
  check(
    Array.isArray(frames) && frames.every((f) => f instanceof Uint8Array),
    'not a list of frames',
  );
  check(frames.length >= 2, `${frames.length} frames`);
  const topic = topicOf(frames[0], kind);
  let fields;
  try {
    fields = decode(frames[1], { useBigInt64: true });
  } catch (error) {
    throw new WireError(`the map of ${topic} is not msgpack: ${error.message}`, { cause: error });
  }
  check(
    fields !== null && typeof fields === 'object' && !Array.isArray(fields),
    'the second frame is not a map',
  );
  check(fields.topic === topic, `the map says topic ${fields.topic}`);
  version(Number(fields.v));
  fields.v = VERSION;
  return { topic, fields };
}

/** A msgpack integer is a number or a BigInt, depending on how many bytes it took. */
function integer(fields, key, low, end) {
  const value = fields[key];
  check(typeof value === 'bigint' || Number.isSafeInteger(value), `${key} is not an integer`);
  const exact = BigInt(value);
  check(exact >= low && exact < end, `${key} is out of range`);
  return exact;
}

/** Integers of a nested map: BigInt for `*_ns`, numbers for the others. */
function plain(value, key = '') {
  if (Array.isArray(value)) return value.map((item) => plain(item));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([k, item]) => [k, plain(item, k)]));
  }
  if (key.endsWith('_ns') && Number.isSafeInteger(value)) return BigInt(value);
  return typeof value === 'bigint' && !key.endsWith('_ns') ? Number(value) : value;
}

/** A copy: a frame may begin at any address, a Float32Array over it only at multiples of four. */
function floats(bytes, offset, n) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: n }, (_, i) => view.getFloat32(offset + 4 * i, true));
}
