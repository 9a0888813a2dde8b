#include "Arduino.h"
#include FIRMWARE

int main() {
  setup();
  for (;;) {
    loop();
    usleep(20);  // a core is not ours alone
  }
}
