// Coded camera triggers, for `rtface sync` (docs/sync.md).
//
// REFERENCE, NEVER RUN ON HARDWARE. The sums are those of rtface/sync/code.py and are tested there;
// timing was not measured. For a board with a 16 MHz ATmega328P (Uno, Nano).
//
// TRIGGER_PIN gives a pulse of PULSE_US at RATE_HZ. Once in every stretch of 5 s, at a pseudo-random
// place, a pulse comes a quarter of a period late (or is left out: LEAVE_OUT). Wire it to the
// camera's trigger input and to a digital input of the neural recording.
// START_PIN low (it has a pull-up): no triggers. Leave it open to run at once.
// BARCODE_PIN gives a barcode of 32 bits every 10 s, for cameras that free-run: wire it to an input
// of the camera and to the recording.
//
// Each time the board is switched on it counts up in EEPROM and begins the code elsewhere: two
// sessions never have the same code, so another session's file cannot match.

#include <EEPROM.h>

const uint8_t TRIGGER_PIN = 9;  // OC1A: set by the timer itself, without jitter
const uint8_t START_PIN = 2;
const uint8_t BARCODE_PIN = 7;
const uint32_t RATE_HZ = 200;    // 62 to 1000: the timer has 16 bits
const uint32_t PULSE_US = 1000;  // shorter than half a period
const bool LEAVE_OUT = false;

const uint32_t STRETCH_S = 5;
const uint32_t TICKS_PER_US = 2;  // 16 MHz / 8
const uint32_t PERIOD = 1000000UL * TICKS_PER_US / RATE_HZ;
const uint32_t PULSE = PULSE_US * TICKS_PER_US;
const uint32_t PER_STRETCH = RATE_HZ * STRETCH_S;

static uint32_t boot_count() {
  uint32_t boot;
  EEPROM.get(0, boot);
  boot = boot == 0xFFFFFFFFUL ? 1 : boot + 1;
  EEPROM.put(0, boot);
  return boot;
}

// xorshift32: Marsaglia, J. Stat. Softw. 8(14), 2003
static uint32_t shuffled(uint32_t x) {
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return x;
}

static uint32_t x;               // where the series of the code is
static uint32_t in_stretch = 0;  // of the trigger that comes next
static uint32_t marked;          // the trigger of this stretch that carries the code
static uint16_t slot_at;         // where the next trigger belongs, in ticks of the timer
static volatile bool high = false;

static void new_stretch() {
  in_stretch = 0;
  x = shuffled(x);
  marked = 1 + x % (PER_STRETCH - 2);
}

// Set the timer to raise the pin for the next trigger.
static void next_trigger() {
  slot_at += PERIOD;
  if (++in_stretch == PER_STRETCH) new_stretch();
  uint16_t at = slot_at;
  if (in_stretch == marked) {
    if (LEAVE_OUT) {
      slot_at += PERIOD;
      if (++in_stretch == PER_STRETCH) new_stretch();
      at = slot_at;
    } else {
      at += PERIOD / 4;
    }
  }
  OCR1A = at;
  TCCR1A = _BV(COM1A1) | _BV(COM1A0);  // set on match
}

ISR(TIMER1_COMPA_vect) {
  if (high) {  // the pulse just ended
    high = false;
    next_trigger();
  } else {  // it just began
    high = true;
    OCR1A += PULSE;
    TCCR1A = _BV(COM1A1);  // clear on match
  }
}

static void start_triggers() {
  new_stretch();
  slot_at = TCNT1 + PERIOD;
  OCR1A = slot_at;
  high = false;
  TCCR1A = _BV(COM1A1) | _BV(COM1A0);
  TIFR1 = _BV(OCF1A);
  TIMSK1 = _BV(OCIE1A);
}

static void stop_triggers() {
  TIMSK1 = 0;
  TCCR1A = 0;
  digitalWrite(TRIGGER_PIN, LOW);
}

// Barcode: 100 ms high, 50 ms low, 32 bits of 50 ms from the lowest, low. The next is shuffled.
static uint32_t code_value;
static uint32_t code_began;
static void barcode(uint32_t now) {
  if (now - code_began >= 10000) {
    code_began += 10000;
    code_value = shuffled(code_value);
  }
  uint32_t step = (now - code_began) / 50;
  bool level = step < 2 || (step >= 3 && step < 35 && (code_value >> (step - 3) & 1));
  digitalWrite(BARCODE_PIN, level);
}

void setup() {
  pinMode(TRIGGER_PIN, OUTPUT);
  pinMode(BARCODE_PIN, OUTPUT);
  pinMode(START_PIN, INPUT_PULLUP);
  x = boot_count() * 2654435761UL + 1;
  if (x == 0) x = 1;
  code_value = x;
  code_began = millis();
  TCCR1A = 0;
  TCCR1B = _BV(CS11);  // 16 MHz / 8, counts on for ever
}

void loop() {
  static bool running = false;
  bool wanted = digitalRead(START_PIN);
  if (wanted && !running) start_triggers();
  if (!wanted && running) stop_triggers();
  running = wanted;
  barcode(millis());
}
