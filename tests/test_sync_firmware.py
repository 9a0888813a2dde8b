"""The generator's firmware, compiled for this machine, sends what `rtface.sync.code` says."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rtface.sync import code, readers

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
FIRMWARE = EXAMPLES / "arduino" / "rtface_strobe" / "rtface_strobe.ino"
#: just enough of the board: registers are variables, the pins print
BOARD = """
#pragma once
#include <cstdint>
#include <cstdio>
#include <initializer_list>
enum { LOW, HIGH, INPUT, OUTPUT, INPUT_PULLUP, COM1A0 = 6, COM1A1 = 7, OCIE1A = 1, OCF1A = 1,
       CS11 = 1 };
#define _BV(bit) (1 << (bit))
#define ISR(name) void name()
uint16_t TCNT1, OCR1A; uint8_t TCCR1A, TCCR1B, TIFR1, TIMSK1;
uint32_t now_ms; bool barcode_level;
void pinMode(uint8_t, uint8_t) {}
bool digitalRead(uint8_t) { return true; }
void digitalWrite(uint8_t pin, bool level) {
  if (pin == 7 && level != barcode_level) {
    barcode_level = level;
    printf("b %u %d\\n", now_ms, level);
  }
}
uint32_t millis() { return now_ms; }
struct { void get(int, uint32_t &x) { x = BOOT - 1; } void put(int, uint32_t) {} } EEPROM;
"""
MAIN = """
int main() {
  setup();
  loop();
  uint64_t ticks = 0;
  uint16_t last = TCNT1;
  for (int i = 0; i < 2 * 4000; ++i) {  // each match of the timer: up, down
    ticks += (uint16_t)(OCR1A - last);
    last = OCR1A;
    printf("%c %llu\\n", (TCCR1A & _BV(COM1A0)) ? 'u' : 'd', (unsigned long long)ticks);
    TIMER1_COMPA_vect();
  }
  for (now_ms = 0; now_ms < 40000; ++now_ms) loop();
}
"""


def sent(folder: Path, boot: int, leave_out: bool = False) -> tuple[np.ndarray, np.ndarray, list]:
    """Compile and run: when the trigger goes up and down, s, and the barcode's (ms, level)."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    for name in ("Arduino.h", "EEPROM.h"):
        (folder / name).write_text(BOARD.replace("BOOT", f"{boot}u"))
    text = FIRMWARE.read_text()
    if leave_out:
        assert "LEAVE_OUT = false" in text
        text = text.replace("LEAVE_OUT = false", "LEAVE_OUT = true")
    (folder / "main.cpp").write_text('#include "Arduino.h"\n' + text + MAIN)
    program = folder / "strobe"
    subprocess.run(
        [
            compiler,
            "-std=c++11",
            "-Wall",
            "-Werror",
            f"-I{folder}",
            "-o",
            program,
            folder / "main.cpp",
        ],
        check=True,
    )
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split("\n")
    words = [line.split() for line in lines if line]
    up, down = (np.array([int(w[1]) for w in words if w[0] == k]) / 2e6 for k in "ud")
    return up, down, [(int(w[1]), int(w[2])) for w in words if w[0] == "b"]


@pytest.mark.parametrize("boot", [1, 2, 77])
def test_triggers_are_those_of_the_code(tmp_path: Path, boot: int) -> None:
    up, down, _ = sent(tmp_path, boot)
    assert np.allclose(up - up[0], code.triggers(200.0, 20.0, boot), atol=1e-9)
    assert np.allclose(down - up, 1e-3)


def test_triggers_are_left_out(tmp_path: Path) -> None:
    up, _, _ = sent(tmp_path, 5, leave_out=True)
    expected = code.triggers(200.0, 25.0, 5, leave_out=True)[: len(up)]
    assert np.allclose(up - up[0], expected, atol=1e-9)


def test_barcodes_are_those_of_the_code(tmp_path: Path) -> None:
    _, _, changes = sent(tmp_path, 9)
    expected = code.barcodes(39.0, code.seed_of(9))
    for level, times in ((1, expected.rising_s), (0, expected.falling_s)):
        seen = [ms * 1e-3 for ms, is_up in changes if is_up == level]
        assert seen == pytest.approx(times.tolist())


def test_the_ni_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its pulses are the code's, and its table is what `rtface sync` reads."""
    example = _module(EXAMPLES / "ni" / "edges_to_csv.py")
    low, high = example.pairs(100.0, 20.0, 3)
    up = np.cumsum(low + high) - high
    assert np.allclose(up - up[0], code.triggers(100.0, 20.0, 3))
    words = np.array([0, 1, 1, 3, 2, 2, 0, 0], np.uint32)
    rows = example.rows_of(words[:3], 8, 0, 0) + example.rows_of(words[3:], 8, 1, 3)
    path = tmp_path / "edges.csv"
    path.write_text(
        "time_s,line,state\n0.0,begin,\n"
        + "".join(f"{t},{line},{state}\n" for t, line, state in rows)
        + f"{8 / example.SAMPLING_HZ},end,\n"
    )
    edges = readers.read(path, "1")
    assert (edges.rising_s * example.SAMPLING_HZ).tolist() == pytest.approx([3])
    assert (edges.falling_s * example.SAMPLING_HZ).tolist() == pytest.approx([6])
    assert edges.end_s == pytest.approx(8 / example.SAMPLING_HZ)
    example.main(["--boot", "3", "--rate", "100", "--seconds", "20"])
    assert "2000 triggers" in capsys.readouterr().out


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
