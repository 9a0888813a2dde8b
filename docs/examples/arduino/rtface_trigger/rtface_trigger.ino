// One TTL line for rtface's closed loop, on a Teensy or any Arduino.
//
// Everything that protects the animal is here and not in the computer: a pulse ends by itself, is
// never longer than MAX_PULSE_US, the line is on for at most MAX_DUTY of any 10 s, and it goes low
// when nothing was heard for WATCHDOG_US. Set the four numbers, upload, and put a pull-down of
// 10 kOhm from PIN to ground: the pin floats until setup() runs.
//
// Messages have 9 bytes: 0xA5, a letter, u16 id, u32 value (little-endian), CRC-8 (polynomial 0x07)
// of the seven bytes before it. docs/closed-loop.md has the table.

const uint8_t PIN = 13;
const uint32_t MAX_PULSE_US = 100000UL;  // no pulse is longer
const uint16_t MAX_DUTY = 500;           // of any 10 s the line may be on, 1/1000
const uint32_t WATCHDOG_US = 100000UL;   // low when nothing was heard for so long
const uint32_t BAUD = 500000UL;          // Teensy ignores it

const uint16_t VERSION = 1;
const uint32_t DUTY_WINDOW_US = 10000000UL;
const uint32_t MOST_ON_US = DUTY_WINDOW_US / 1000 * MAX_DUTY;  // in any window
const uint8_t STEPS = 100;  // of the window; so much of it is forgotten at a time
const uint32_t STEP_US = DUTY_WINDOW_US / STEPS;
enum Refusal {
  REFUSE_BUSY = 1,
  REFUSE_TOO_LONG = 2,
  REFUSE_DUTY = 3,
  REFUSE_UNHEARD = 4,
  REFUSE_NO_WIDTH = 5
};

bool isOn = false, isHeard = false;
uint16_t pulseId = 0;
uint32_t pulseUs = 0, onAtUs = 0, heardAtUs = 0;
// us of the pulses that ended in each step of the last window, and in the step that goes on. All
// of a pulse counts where it ends, so that none of it is forgotten too early
uint32_t spentUs[STEPS + 1];
uint32_t allSpentUs = 0, stepAtUs = 0;
uint8_t step = 0;
uint8_t received[9];
uint8_t count = 0;

uint8_t crc8(const uint8_t *data, uint8_t length) {
  uint8_t crc = 0;
  for (uint8_t i = 0; i < length; i++) {
    crc ^= data[i];
    for (uint8_t bit = 0; bit < 8; bit++) crc = (crc & 0x80) ? (crc << 1) ^ 0x07 : crc << 1;
  }
  return crc;
}

void say(char kind, uint16_t id, uint32_t value) {
  uint8_t message[9] = {0xA5, (uint8_t)kind, (uint8_t)id, (uint8_t)(id >> 8), (uint8_t)value,
                        (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24), 0};
  message[8] = crc8(message + 1, 7);
  // never wait for a computer that does not read: the line comes first
  if (Serial.availableForWrite() >= 9) Serial.write(message, 9);
}

void forget(uint32_t now) {  // what ended longer ago than the window
  while (now - stepAtUs >= STEP_US) {
    step = step < STEPS ? step + 1 : 0;
    allSpentUs -= spentUs[step];
    spentUs[step] = 0;
    stepAtUs += STEP_US;
  }
}

void lineOff(char kind, uint32_t now) {
  digitalWrite(PIN, LOW);
  isOn = false;
  const uint32_t endedUs = micros();
  forget(endedUs);
  uint32_t wasOnUs = endedUs - onAtUs;
  if (wasOnUs < pulseUs) wasOnUs = pulseUs;  // one that was cut counts as ordered
  spentUs[step] += wasOnUs;
  allSpentUs += wasOnUs;
  say(kind, pulseId, now);
}

void pulse(uint16_t id, uint32_t width) {
  uint32_t now = micros();
  uint8_t why = 0;
  forget(now);
  if (isOn) why = REFUSE_BUSY;
  else if (width == 0) why = REFUSE_NO_WIDTH;
  else if (width > MAX_PULSE_US) why = REFUSE_TOO_LONG;
  else if (allSpentUs > MOST_ON_US || width > MOST_ON_US - allSpentUs) why = REFUSE_DUTY;
  else if (!isHeard) why = REFUSE_UNHEARD;
  if (why) {
    say('N', id, why);
    return;
  }
  digitalWrite(PIN, HIGH);
  onAtUs = micros();
  isOn = true;
  pulseId = id;
  pulseUs = width;
  say('A', id, onAtUs);
}

void obey(char kind, uint16_t id, uint32_t value) {
  if (kind == 'H') {
    say('H', VERSION, MAX_PULSE_US);
    say('D', MAX_DUTY, WATCHDOG_US);
  } else if (kind == 'K') {
    heardAtUs = micros();
    isHeard = true;
    say('K', id, heardAtUs);
  } else if (kind == 'P') {
    pulse(id, value);
  } else if (kind == 'X') {
    if (isOn) lineOff('E', micros());
    say('X', id, micros());
  }
}

void drop() {  // what is no start of a message
  do {
    count--;
    for (uint8_t i = 0; i < count; i++) received[i] = received[i + 1];
  } while (count > 0 && received[0] != 0xA5);
}

void hear() {
  while (Serial.available() > 0) {
    received[count++] = Serial.read();
    if (received[0] != 0xA5) drop();
    if (count < 9) continue;
    if (crc8(received + 1, 7) != received[8]) {
      drop();
      continue;
    }
    count = 0;
    obey(received[1], received[2] | (uint16_t)received[3] << 8,
         received[4] | (uint32_t)received[5] << 8 | (uint32_t)received[6] << 16 |
             (uint32_t)received[7] << 24);
    return;  // one at a time: the clock is looked at in between
  }
}

void setup() {
  digitalWrite(PIN, LOW);  // before it becomes an output, so that it never glitches
  pinMode(PIN, OUTPUT);
  Serial.begin(BAUD);
  // nobody knows what was before a reset: as if MAX_DUTY had been spent, evenly
  for (uint8_t i = 1; i <= STEPS; i++) allSpentUs += spentUs[i] = STEP_US / 1000 * MAX_DUTY;
  stepAtUs = micros();
}

void loop() {
  uint32_t now = micros();
  if (isHeard && now - heardAtUs >= WATCHDOG_US) isHeard = false;
  forget(now);  // often enough that the clock's wrap is no matter
  if (isOn && now - onAtUs >= pulseUs) lineOff('E', now);
  if (isOn && !isHeard) lineOff('W', now);
  hear();
}
