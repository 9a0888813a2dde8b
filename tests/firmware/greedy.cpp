// The firmware in simulated time, asked for a pulse of so many microseconds whenever it is idle:
// greedy WIDTH SECONDS. It rests until 15 s, so that a bucket would be full.
#define SIMULATED
#include "Arduino.h"
#include FIRMWARE

int main(int, char **words) {
  const uint32_t width = atoi(words[1]);
  const uint64_t end = atoi(words[2]) * 1000000ULL;
  setup();
  for (; simulated_us < end; simulated_us += 500) {
    loop();
    obey('K', 1, 0);
    if (!isOn && simulated_us >= 15000000) obey('P', 1, width);
  }
}
