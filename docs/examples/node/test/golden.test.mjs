// Decodes the bytes of tests/data, exactly; refuses what is not one of ours. node --test

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decode, encode } from '@msgpack/msgpack';
import * as rtface from '../rtface.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const folder = process.env.RTFACE_GOLDEN ?? join(here, '../../../../tests/data');
const bytes = (name) => readFileSync(join(folder, name));
const frames = (name) => decode(bytes(name));

const BIG = 2n ** 53n + 1n; // one more than a double can hold
const KEYPOINTS = [1.5, 2.25, 0.5, 639, 479, 1, -4, 0, 0];
const FLAGS = rtface.UNCALIBRATED | rtface.CAMERA_GAP | rtface.SKIPPED;
const LEDGER = {
  seq: 1000n,
  frame_seq: 1002n,
  segment: 0n,
  frame_id: 1005n,
  t_camera_ns: BIG,
  t_host_ns: BIG + 2n,
  t_read_ns: BIG + 4n,
  t_infer_ns: BIG + 6n,
  t_motion_ns: BIG + 7n,
  t_pupil_ns: BIG + 7n,
  t_rules_ns: BIG + 8n,
  t_done_ns: BIG + 10n,
  exposure_ns: BIG - 1000n,
  exposure_err_ns: 5_000_000n,
  time_source: 1,
  lost_camera: 3n,
  skipped: 2n,
  flags: FLAGS,
};

/** The pose message with its map changed. */
function changed(change, name = 'pose.v1.msgpack') {
  const [topic, map, ...raw] = frames(name);
  const fields = decode(map, { useBigInt64: true });
  change(fields, raw);
  return [topic, encode(fields, { useBigInt64: true }), ...raw];
}

function refused(decoder, message, why) {
  assert.throws(() => decoder(message), (error) => {
    assert.ok(error instanceof rtface.WireError, String(error.stack));
    assert.match(error.message, why);
    return true;
  });
}

test('pose: every field, exactly', () => {
  const { arrays, keypoints, ...message } = rtface.decodePose(frames('pose.v1.msgpack'));
  assert.deepEqual(message, {
    topic: 'pose.cam1.',
    timestamp: Number(BIG - 1000n) * 1e-9,
    v: 1,
    session: '0123456789abcdef',
    K: 3,
    crop: [-12, 40, 320, 240],
    ...LEDGER,
  });
  assert.ok(keypoints instanceof Float32Array);
  assert.deepEqual([...keypoints], KEYPOINTS);
  assert.deepEqual(Object.keys(arrays), ['keypoints']);
  assert.deepEqual(arrays.keypoints.shape, [3, 3]);
});

test('pose of a camera without a clock', () => {
  const message = rtface.decodePose(frames('pose_no_camera_clock.v1.msgpack'));
  assert.equal(message.t_camera_ns, null);
  assert.equal(message.t_host_ns, BIG + 2n);
});

test('fast: every field, exactly', () => {
  const { keypoints, ...message } = rtface.decodeFast(bytes('fast.v1.bin'));
  const { seq, frame_seq, exposure_ns, exposure_err_ns, t_host_ns, t_done_ns } = LEDGER;
  assert.deepEqual(message, {
    topic: 'fast.cam1.',
    v: 1,
    kind: 1,
    flags: FLAGS,
    K: 3,
    ...{ seq, frame_seq, exposure_ns, exposure_err_ns, t_host_ns, t_done_ns },
  });
  assert.deepEqual([...keypoints], KEYPOINTS);
});

test('meta: names of the rows; its JSON says the same', () => {
  const message = frames('meta.v1.msgpack');
  const meta = rtface.decodeMeta(message);
  const names = ['eye(back)', 'eye(front)', 'nose(tip)'];
  assert.deepEqual(meta, {
    topic: 'meta.cam1.',
    v: 1,
    session: '0123456789abcdef',
    keypoints: names,
  });
  assert.deepEqual(JSON.parse(Buffer.from(message[2]).toString()), meta);
});

test('status: times are BigInt, counts are numbers, whatever their size', () => {
  const fields = {
    topic: 'status.',
    v: 1,
    session: 'x',
    lifecycle: 'running',
    t_host_ns: 5n,
    t_unix_ns: 2n ** 60n + 1n,
    cameras: { cam1: { delivered: 2n ** 40n, skipped: 7n } },
  };
  const topic = Buffer.from('status.');
  const status = rtface.decodeStatus([topic, encode(fields, { useBigInt64: true })]);
  assert.deepEqual(status, {
    ...fields,
    cameras: { cam1: { delivered: 2 ** 40, skipped: 7 } },
  });
  const small = rtface.decodeStatus([topic, encode({ ...fields, t_host_ns: 5 }, { useBigInt64: true })]);
  assert.equal(small.t_host_ns, 5n);
});

test('bytes at any address decode alike', () => {
  const golden = bytes('fast.v1.bin');
  for (let shift = 0; shift < 8; shift += 1) {
    const moved = new Uint8Array(golden.length + 8);
    moved.set(golden, shift);
    const message = rtface.decodeFast(moved.subarray(shift, shift + golden.length));
    assert.deepEqual([...message.keypoints], KEYPOINTS);
    assert.equal(message.t_done_ns, BIG + 10n);
    const [topic, map, raw] = frames('pose.v1.msgpack');
    const moved_raw = new Uint8Array(raw.length + 8);
    moved_raw.set(raw, shift);
    const pose = [topic, map, moved_raw.subarray(shift, shift + raw.length)];
    assert.deepEqual([...rtface.decodePose(pose).keypoints], KEYPOINTS);
  }
});

test('what is decoded stays when the bytes are used again', () => {
  const copy = Buffer.from(bytes('fast.v1.bin'));
  const message = rtface.decodeFast(copy);
  copy.fill(255);
  assert.deepEqual([...message.keypoints], KEYPOINTS);
});

test('every truncation is refused', () => {
  const golden = bytes('fast.v1.bin');
  for (let n = 0; n < golden.length; n += 1) {
    assert.throws(() => rtface.decodeFast(golden.subarray(0, n)), rtface.WireError);
  }
  const whole = frames('pose.v1.msgpack');
  for (let n = 0; n < whole.length; n += 1) {
    assert.throws(() => rtface.decodePose(whole.slice(0, n)), rtface.WireError);
  }
  for (const i of whole.keys()) {
    for (let n = 0; n < whole[i].length; n += 1) {
      const cut = [...whole];
      cut[i] = whole[i].subarray(0, n);
      assert.throws(() => rtface.decodePose(cut), rtface.WireError);
    }
  }
});

test('bytes too many are refused', () => {
  const longer = (data) => Buffer.concat([data, Buffer.from([0])]);
  refused(rtface.decodeFast, longer(bytes('fast.v1.bin')), /117 bytes for 3 keypoints/);
  const [topic, map, raw] = frames('pose.v1.msgpack');
  refused(rtface.decodePose, [topic, longer(map), raw], /not msgpack/);
  refused(rtface.decodePose, [topic, map, longer(raw)], /37 bytes for 3 keypoints/);
  refused(rtface.decodePose, [topic, map, raw, raw], /2 raw frames for 1 arrays/);
});

test('another version is refused', () => {
  const fast = Buffer.from(bytes('fast.v1.bin'));
  fast.writeUInt16LE(2, 16);
  refused(rtface.decodeFast, fast, /version 2/);
  refused(rtface.decodePose, changed((fields) => (fields.v = 2)), /version 2/);
  refused(rtface.decodeMeta, changed((fields) => (fields.v = 2), 'meta.v1.msgpack'), /version 2/);
});

test('another kind of fast message is refused', () => {
  const fast = Buffer.from(bytes('fast.v1.bin'));
  fast.writeUInt16LE(2, 18);
  refused(rtface.decodeFast, fast, /kind 2/);
});

test('foreign bytes are refused', () => {
  refused(rtface.decodeFast, Buffer.from('hello'), /too short/);
  refused(rtface.decodeFast, Buffer.alloc(116), /topic ""/);
  refused(rtface.decodeFast, Buffer.alloc(116, 255), /topic/);
  refused(rtface.decodeFast, 'hello', /not bytes/);
  const pose = frames('pose.v1.msgpack');
  refused(rtface.decodeFast, pose, /one frame, not 3/);
  refused(rtface.decodePose, bytes('fast.v1.bin'), /not a list of frames/);
  refused(rtface.decodePose, frames('meta.v1.msgpack'), /topic "meta.cam1."/);
  refused(rtface.decodeMeta, pose, /topic "pose.cam1."/);
  refused(rtface.decodePose, [pose[0], encode([1, 2]), pose[2]], /not a map/);
  refused(rtface.decodePose, [Buffer.from('pose.cam2.'), pose[1], pose[2]], /topic pose.cam1./);
});

test('a map that lacks something or holds another type is refused', () => {
  for (const key of Object.keys(LEDGER)) {
    refused(rtface.decodePose, changed((fields) => delete fields[key]), RegExp(key));
    refused(rtface.decodePose, changed((fields) => (fields[key] = 'x')), RegExp(key));
  }
  refused(rtface.decodePose, changed((fields) => (fields.seq = -1)), /seq is out of range/);
  refused(rtface.decodePose, changed((fields) => delete fields.session), /session/);
  refused(rtface.decodePose, changed((fields) => (fields.arrays = [])), /1 raw frames for 0/);
  refused(rtface.decodePose, changed((fields) => (fields.arrays[0][1] = '<f8')), /<f8/);
  refused(rtface.decodePose, changed((fields) => (fields.arrays[0][2] = [9])), /shape 9/);
  refused(rtface.decodePose, changed((fields) => (fields.arrays[0][2] = [4, 3])), /for 4 keypoints/);
});

test('more keys and more arrays may come within version 1', () => {
  const more = changed((fields, raw) => {
    fields.later = 1;
    fields.arrays.push(['later', '|u1', [2]]);
    raw.push(new Uint8Array([1, 2]));
  });
  const message = rtface.decodePose(more);
  assert.equal(message.later, 1);
  assert.deepEqual([...message.keypoints], KEYPOINTS);
  assert.deepEqual([...message.arrays.later.bytes], [1, 2]);
});

test('small and large integers alike become BigInt', () => {
  for (const value of [0n, 200n, 70_000n, 2n ** 32n, BIG]) {
    const message = rtface.decodePose(changed((fields) => (fields.seq = value)));
    assert.equal(message.seq, value);
  }
});

test('gaps and restarts are counted', () => {
  const gaps = new rtface.Gaps();
  for (const [session, seq] of [['a', 5n], ['a', 6n], ['a', 9n], ['b', 0n], ['b', 2n]]) {
    gaps.add({ session, seq });
  }
  assert.deepEqual([gaps.received, gaps.lost, gaps.restarts], [5, 3n, 1]);
  const fast = new rtface.Gaps();
  for (const seq of [5n, 6n, 0n]) fast.add({ seq });
  assert.deepEqual([fast.lost, fast.restarts], [0n, 1]);
});
