// As much of Arduino as the reference firmware uses, on a pseudo-terminal of this machine: the same
// source that goes onto a board runs in tests. Standard input and output are the terminal; the pin
// is written to a file descriptor as lines of "level microseconds".
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define LOW 0
#define HIGH 1
#define OUTPUT 1

#ifdef SIMULATED
static uint64_t simulated_us = 0;
static inline uint64_t now_us() { return simulated_us; }
#else
static inline uint64_t now_us() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
#endif
static inline uint32_t micros() {
  // the clock wraps a few seconds after the start, so that tests go through it
  static const uint64_t zero = now_us() + 3000000;
  return (uint32_t)(now_us() - zero);
}
static inline void pinMode(uint8_t, uint8_t) {}
static inline void digitalWrite(uint8_t, uint8_t level) {
  static const int to = atoi(getenv("PIN_FD"));
  char text[64];
  int n = snprintf(text, sizeof text, "%d %llu\n", level, (unsigned long long)now_us());
  if (write(to, text, n) != n) exit(3);
}
struct SerialPort {
  void begin(uint32_t) {}
  int available() {
    int n = 0;
    if (ioctl(0, FIONREAD, &n) < 0) exit(0);
    return n;
  }
  int read() {
    uint8_t byte = 0;
    return ::read(0, &byte, 1) == 1 ? byte : -1;
  }
  int availableForWrite() { return 64; }
  void write(const uint8_t *data, size_t n) {
    if (::write(1, data, n) < 0) exit(0);
  }
};
static SerialPort Serial;
