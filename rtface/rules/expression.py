"""From the tree of an expression to something that reads its value from each frame.

Every signal knows its unit, its bounds and its own delay. All of them are causal. A number that
is not known is NaN, and NaN goes through everything.
"""

from __future__ import annotations

import math

from rtface.rules import functions
from rtface.rules.arithmetic import ARITHMETIC
from rtface.rules.filters import Exponential, OneEuro, Scorer
from rtface.rules.functions import Stateful
from rtface.rules.gate import EYE, NOSE
from rtface.rules.parse import Marked, parse, suggestion
from rtface.rules.signals import Known, Signal, Test, constant, joined
from rtface.rules.tree import Call, Condition, Name, Number, Point, Tree
from rtface.rules.units import ONE, PX, RAD, SD, S, Unit
from rtface.rules.whisk import Kind, Oscillator

#: time constant of the filter behind ``forecast`` where none is given, s
FOLLOW_S = 0.005
#: functions that ask for well tracked whiskers; those of a swing
SWINGS: dict[str, Kind] = {"phase": "phase", "amplitude": "amplitude", "setpoint": "setpoint"}
WHISKING = ("azimuth", *SWINGS)


def compile_text(text: str, known: Known, within: tuple[str, ...] = ()) -> Signal:
    """Return what reads the value of an expression; ``Marked`` (a UserError) if it is wrong.

    ``within``: names of the rig's signals that are being compiled.
    """
    return _Compiler(text, known, within).compile(parse(text, known.keypoints))


def compile_condition(text: str, condition: Condition, known: Known) -> Test:
    """Return a comparison of a signal with a constant, and refuse one that can never change."""
    compiler = _Compiler(text, known, ())
    signal, right = compiler.compile(condition.left), compiler.compile(condition.right)
    sign = 1 if condition.above else -1
    if right.value is None:
        compiler.fault(condition.right, "a number is needed here, the signal goes to the left")
    if signal.value is not None:
        compiler.fault(condition.left, "this never changes; a signal is needed here")
    compiler.same_unit(condition.right, signal, right)
    assert right.value is not None
    check_reachable(text, signal, sign, right.value, condition.right.start, condition.right.end)
    return Test(signal, sign, right.value)


def compile_constant(text: str, known: Known, unit: Unit) -> float:
    """Return the value of a constant of this unit."""
    compiler, tree = _Compiler(text, known, ()), parse(text, known.keypoints)
    found = compiler.compile(tree)
    if found.value is None:
        compiler.fault(tree, "a number is needed here")
    compiler.same_unit(tree, Signal(found.read, unit), found)
    assert found.value is not None
    return found.value


def check_reachable(
    text: str, signal: Signal, sign: int, threshold: float, start: int, end: int
) -> None:
    """Refuse a threshold that a signal can never pass, or never come back from."""
    low, high = signal.low, signal.high
    unit = "" if signal.unit == ONE else f" {signal.unit}"
    if math.isinf(high):
        of = f"the signal is never below {low:g}{unit}"
    else:
        of = f"the signal is always {low:g} to {high:g}{unit}"
    if sign < 0:
        low, high, threshold = -high, -low, -threshold
    if high <= threshold:
        raise Marked(text, start, end, f"impossible threshold: never passed, {of}")
    if low > threshold:
        raise Marked(text, start, end, f"impossible threshold: always passed, {of}")


class _Compiler:
    def __init__(self, text: str, known: Known, within: tuple[str, ...]) -> None:
        self._text, self._known, self._within = text, known, within

    def fault(self, tree: Tree, message: str) -> None:
        raise Marked(self._text, tree.start, tree.end, message)

    def same_unit(self, tree: Tree, wanted: Signal, found: Signal) -> None:
        if wanted.unit != found.unit:
            hint = "" if found.unit != ONE else f"; write the unit: ... {wanted.unit}"
            self.fault(tree, f"wrong unit: {found.unit}, where {wanted.unit} is needed{hint}")

    def compile(self, tree: Tree) -> Signal:
        if isinstance(tree, Number):
            return constant(tree.value, tree.unit)
        if isinstance(tree, Point):
            return self._part(tree)
        if isinstance(tree, Name):
            return self._name(tree)
        return self._call(tree)

    def _part(self, tree: Point) -> Signal:
        row, points = tree.row, frozenset([tree.row])
        name = self._known.keypoints[row]
        if not tree.part:
            self.fault(tree, f"a point stands where a number is needed; write {name}.x or {name}.y")
        if tree.part == "score":
            read = functions.score(row)
            return Signal(read, ONE, 0.0, 1.0, points=points)
        read = functions.coordinate(row, "xy".index(tree.part), self._known.min_score)
        return Signal(read, PX, points=points)

    def _name(self, tree: Name) -> Signal:
        known, text = self._known, tree.text
        if text in known.named:
            return self._named(tree)
        name, _, index = text.partition("[")
        source = known.layout.get(name)
        if source is None:
            every = [*known.named, *known.layout, *known.keypoints, *known.zones]
            self.fault(tree, f"unknown signal '{text}'{suggestion(text, every)}")
            raise AssertionError
        place = source.place
        if bool(index) != bool(source.length):
            says = f"has {source.length} numbers; write {name}[0]" if source.length else "is one"
            self.fault(tree, f"{name} {says}")
        if index:
            n = int(index.rstrip("]"))
            if n >= source.length:
                self.fault(tree, f"{name} has numbers 0 to {source.length - 1}")
            place += n
        return Signal(
            functions.element(source.signal, place, source.eye_open),
            source.unit,
            source.low,
            source.high,
            source.stage,
            source.frames_late * known.period_s + source.late_s,
            basis=source.signal in ("motion", "movie"),
        )

    def _named(self, tree: Name) -> Signal:
        name = tree.text
        if name in self._within:
            way = " -> ".join([*self._within[self._within.index(name) :], name])
            self.fault(tree, f"a cycle: {way}; a signal cannot be made of itself")
        if len(self._within) > 20:
            self.fault(tree, "signals are nested more than 20 deep")
        try:
            return compile_text(self._known.named[name], self._known, (*self._within, name))
        except Marked as error:
            raise error.within(f"signal.{name}.expr") from None

    def _call(self, tree: Call) -> Signal:
        function, arguments = tree.function, tree.arguments
        if function in WHISKING and self._known.no_whisking:
            self.fault(tree, f"{function} {self._known.no_whisking}")
        if function in ("speed", "distance", "angle", "azimuth"):
            return self._of_points(tree)
        if function == "depth":
            return self._depth(tree)
        inner = [self.compile(one) for one in arguments]
        made: Signal
        if function in ("+", "-", "min", "max"):
            for one, its in zip(arguments[1:], inner[1:], strict=True):
                self.same_unit(one, inner[0], its)
            made = joined(ARITHMETIC[function], inner, inner[0].unit)
        elif function == "*":
            made = joined(ARITHMETIC["*"], inner, inner[0].unit.times(inner[1].unit))
        elif function == "/":
            if inner[1].value == 0:
                self.fault(arguments[1], "a division by zero")
            made = joined(ARITHMETIC["/"], inner, inner[0].unit.over(inner[1].unit))
        elif function in ("neg", "abs"):
            made = joined(ARITHMETIC[function], inner, inner[0].unit)
        else:
            return self._stateful(tree, inner)
        if made.value is not None and not math.isfinite(made.value):
            self.fault(tree, "this number is too large")
        return made

    def _row(self, tree: Tree) -> int:
        if not isinstance(tree, Point) or tree.part:
            said = tree.text if isinstance(tree, Name) else ""
            self.fault(tree, f"a keypoint is needed here{suggestion(said, self._known.keypoints)}")
            raise AssertionError
        return tree.row

    def _of_points(self, tree: Call) -> Signal:
        rows = [self._row(one) for one in tree.arguments]
        score, points = self._known.min_score, frozenset(rows)
        if tree.function == "speed":
            speed = functions.Speed(rows[0], score)
            late = self._known.period_s / 2
            return Signal(speed.read, PX.over(S), 0.0, points=points, delay_s=late, parts=(speed,))
        if tree.function == "distance":
            return Signal(functions.distance(rows[0], rows[1], score), PX, 0.0, points=points)
        if tree.function == "angle":
            read = functions.angle(rows[0], rows[1], rows[2], score)
            return Signal(read, RAD, 0.0, math.pi, points=points)
        names = self._known.keypoints
        if missing := {NOSE, EYE} - set(names):
            self.fault(
                tree, f"azimuth needs the face's axis, and the network has no {min(missing)}"
            )
        axis = names.index(NOSE), names.index(EYE)
        azimuth = functions.Azimuth(rows[0], rows[1:], *axis, score)
        points = points.union(axis)
        return Signal(azimuth.read, RAD, 0.0, math.pi, points=points, parts=(azimuth,))

    def _depth(self, tree: Call) -> Signal:
        row, zone = self._row(tree.arguments[0]), tree.arguments[1]
        if not isinstance(zone, Name) or zone.text not in self._known.zones:
            said = zone.text if isinstance(zone, Name) else ""
            self.fault(zone, f"a zone is needed here{suggestion(said, self._known.zones)}")
            raise AssertionError
        read = functions.depth(row, self._known.zones[zone.text], self._known.min_score)
        return Signal(read, PX, points=frozenset([row]))

    def _time(
        self, tree: Tree, found: Signal, least_s: float = 1e-4, most_s: float = 3600
    ) -> float:
        if found.value is None or found.unit != S:
            self.fault(tree, "a time is needed here, such as 50 ms or 10 s")
        assert found.value is not None
        if not least_s <= found.value <= most_s:
            self.fault(tree, f"this time has to be {least_s:g} s to {most_s:g} s")
        return found.value

    def _swing(self, tree: Call, inner: list[Signal]) -> tuple[float, float, float]:
        """Return cycle, frame period and least amplitude of a swing."""
        period_s, arguments = self._known.period_s, tree.arguments
        cycle_s, least = self._time(arguments[1], inner[1], 4 * period_s, 2.0), 0.0
        if inner[2:]:
            self.same_unit(arguments[2], inner[0], inner[2])
            if inner[2].value is None or inner[2].value < 0:
                self.fault(arguments[2], "an amplitude is needed here, such as 2 deg")
            least = inner[2].value or 0.0
        return cycle_s, period_s, least

    def _stateful(self, tree: Call, inner: list[Signal]) -> Signal:
        signal, arguments, function = inner[0], tree.arguments, tree.function
        if signal.value is not None:
            self.fault(arguments[0], "this never changes; a signal is needed here")
        unit, low, high, delay_s = signal.unit, signal.low, signal.high, 0.0
        part: Stateful
        if function == "rate":
            part, unit = functions.Rate(signal.read), unit.over(S)
            low, high, delay_s = -math.inf, math.inf, self._known.period_s / 2
        elif function == "z":
            tau_s = self._time(arguments[1], inner[1], 10 * self._known.period_s)
            part, unit = functions.Filtered(signal.read, Scorer(tau_s)), SD
            low, high = -math.inf, math.inf
        elif function == "smooth":
            delay_s = self._time(arguments[1], inner[1])
            part = functions.Filtered(signal.read, Exponential(delay_s))
        elif function == "one_euro":
            delay_s = self._time(arguments[1], inner[1])
            speed = inner[2]
            self.same_unit(arguments[2], Signal(signal.read, unit.over(S)), speed)
            if speed.value is None or speed.value <= 0:
                self.fault(arguments[2], "a speed above 0 is needed here")
            assert speed.value is not None
            part = functions.Filtered(signal.read, OneEuro(delay_s, speed.value))
        elif function in SWINGS:
            kind = SWINGS[function]
            made = Oscillator(kind, *self._swing(tree, inner))
            part = functions.Filtered(signal.read, made)
            if kind == "phase":
                unit, low, high = RAD, -math.pi, math.pi
            else:
                delay_s = made.delay_s
                low = 0.0 if kind == "amplitude" else low
                high = math.inf if kind == "amplitude" else high
        else:
            ahead_s = self._time(arguments[1], inner[1], 0.0, 0.1)
            follow_s = self._time(arguments[2], inner[2], 1e-3, 1) if inner[2:] else FOLLOW_S
            part = functions.Forecast(signal.read, ahead_s, self._known.period_s, follow_s)
            low, high, delay_s = -math.inf, math.inf, -ahead_s
        return Signal(
            part.read,
            unit,
            low,
            high,
            signal.stage,
            signal.delay_s + delay_s,
            signal.points,
            (*signal.parts, part),
            signal.basis,
        )
