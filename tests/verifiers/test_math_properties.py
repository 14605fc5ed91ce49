r"""Random answers made wrong in a known way are refused; made equal in a known way, accepted.

Each property is about one rule of docs/verification.md: chains, kinks, commas, words, names.
"""

from fractions import Fraction
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prime_core.verifiers.math.compare import compare

JOINTS = st.sampled_from(
    ["=", r"\approx", r"\sim", r"\cong", r"\simeq", r"\doteq", r"\to", r"\Rightarrow", r"\ne",
     "<", r"\le", ">", r"\equiv", r"\mapsto", r"\iff", r"\propto", r"\text{ or }",
     r"\text{ and }", ",", ";", r"\quad ", r"\mid "]
)  # fmt: skip
SMALL = st.integers(-60, 60)
NAMES = st.sampled_from(["", "x=", r"x\approx ", "N=", r"\text{the answer is }"])
quick = settings(deadline=None, max_examples=100)
fewer = settings(deadline=None, max_examples=40)  # a kink costs some milliseconds


def same(answer: str, gold: str) -> bool:
    return compare(answer, gold).same is True


@given(st.lists(SMALL, min_size=2, max_size=6, unique=True), st.data(), NAMES)
@quick
def test_an_answer_that_names_several_values_is_right_for_none(values, data, name) -> None:
    joints = [data.draw(JOINTS) for _ in values[1:]]
    text = name + str(values[0]) + "".join(f"{j} {v}" for j, v in zip(joints, values[1:]))  # noqa: B905
    gold = str(data.draw(st.sampled_from(values)))
    assert not same(text, gold), (text, gold)


EQUATIONS = st.sampled_from(
    ["y={}x+1", "{}x-7y+4=0", "f(x)=\\frac{{x}}{{{}}}", "r_{{{}}}=3", "{}AB=7"]
)
BODIES = st.sampled_from(["{}x+1", "\\frac{{x}}{{{}}}", "x^{{{}}}", "\\sqrt{{{}x}}", "\\sin {}x"])
HEADS = st.sampled_from(["y=", "f(x)=", ""])
EQUALS = st.sampled_from(["=", r"\approx "])


@given(EQUATIONS, st.lists(st.integers(1, 99), min_size=2, max_size=3, unique=True), st.data())
@quick
def test_different_equations_joined_are_right_for_none(form: str, numbers, data) -> None:
    equations = [form.format(number) for number in numbers]
    joint = data.draw(JOINTS)
    assert not same(f" {joint} ".join(equations), data.draw(st.sampled_from(equations)))


@given(BODIES, st.lists(st.integers(2, 60), min_size=2, max_size=4, unique=True), st.data())
@quick
def test_a_chain_of_different_expressions_is_right_for_none(form: str, numbers, data) -> None:
    bodies = [form.format(number) for number in numbers]
    gold = data.draw(st.sampled_from(bodies))
    chain = data.draw(HEADS) + data.draw(EQUALS).join(bodies)
    assert not same(chain, gold)
    assert not same(chain, f"y={gold}")
    assert same(f"y={gold}={gold}+0", gold)


@given(st.fractions(min_value=-99, max_value=99, max_denominator=97), st.integers(1, 6), SMALL)
@quick
def test_a_value_and_its_rounding_are_one_answer(value: Fraction, places: int, shift: int) -> None:
    exact = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    rounded = round(value, places)
    text = decimal(rounded, places)
    assert same(f"x={exact}\\approx {text}", exact)
    assert same(f"{exact}\\approx {text}", text)
    # Two units of the last place further on.
    if shift:
        off = decimal(rounded + Fraction(2 * shift, 10**places), places)
        assert not same(f"{exact}\\approx {off}", exact)
        assert not same(f"{exact}\\approx {off}", off)


def decimal(value: Fraction, places: int) -> str:
    digits = f"{abs(value.numerator) * 10**places // value.denominator:0{places + 1}d}"
    return ("-" if value < 0 else "") + digits[:-places] + "." + digits[-places:]


OFFSETS = st.integers(-3_000, 3_000).filter(lambda n: abs(n) > 3)
SLOPES = st.integers(1, 9)


@given(OFFSETS, SLOPES, st.sampled_from(["abs", "root", "max", "min", "sign", "cases", "fourth"]))
@fewer
def test_one_branch_is_not_the_function(offset: int, slope: int, form: str) -> None:
    line = f"{slope}x{offset:+d}"
    turned = f"-{slope}x{-offset:+d}"
    whole, near, other = {
        "abs": (f"|{line}|", line, turned),
        "root": (f"\\sqrt{{({line})^2}}", line, turned),
        "fourth": (f"\\sqrt[4]{{({line})^4}}", line, turned),
        "max": (f"\\max({line}, 0)", line, "0"),
        "min": (f"\\min({line}, x)", line, "x"),
        "sign": (f"\\frac{{{line}}}{{|{line}|}}", "1", "-1"),
        "cases": (
            f"\\begin{{cases}} {line} & {slope}x\\ge {-offset} \\\\ {turned} & "
            f"\\text{{otherwise}}\\end{{cases}}",
            line,
            turned,
        ),
    }[form]
    assume(not (form == "min" and slope == 1))
    assert not same(near, whole)
    assert not same(other, whole)
    assert not same(whole, near)


@given(OFFSETS, SLOPES, st.integers(-50, 50))
@fewer
def test_other_forms_of_a_kink_are_equal_and_shifted_ones_are_not(a: int, k: int, b: int) -> None:
    gold = f"|{k}x{a:+d}|"
    assert same(f"|{-k}x{-a:+d}|", gold)
    assert same(f"\\sqrt{{{k * k}x^2{2 * k * a:+d}x+{a * a}}}", gold)
    assert same(f"\\max({k}x{a:+d}, {-k}x{-a:+d})", gold)
    assert same(f"{k}|x{Fraction(a, k).numerator:+d}/{Fraction(a, k).denominator}|", gold)
    if b:
        assert not same(f"|{k}x{a + b:+d}|", gold)
        assert not same(f"||{k}x{a:+d}|{b:+d}|", f"|{k}x{a:+d}|{b:+d}") or b > 0


@given(st.integers(-40, 40), st.integers(-40, 40), st.booleans())
@fewer
def test_kinks_in_two_variables_are_seen(a: int, b: int, swapped: bool) -> None:
    inside = f"x-y{a:+d}"
    gold = f"|{inside}|+|x{b:+d}|"
    one = f"|{inside}|+x{b:+d}"
    assert same(f"|x{b:+d}|+|y-x{-a:+d}|", gold)
    assert not same(*((gold, one) if swapped else (one, gold)))


@given(st.integers(1, 999), st.lists(st.integers(0, 999), min_size=1, max_size=3))
@quick
def test_a_number_with_thousands_is_no_list(first: int, groups: list[int]) -> None:
    gold = ",".join([str(first), *(f"{group:03d}" for group in groups)])
    parts = [str(n) for n in (first, *groups)]
    assert same(gold.replace(",", ""), gold)
    assert same(gold, gold.replace(",", ""))
    # As text, 1, 234 and 1,234 are the same; the groups without their zeros are not.
    if any(group < 100 for group in groups):
        assert not same(", ".join(parts), gold)
    assert not same(f"({', '.join(parts)})", gold)
    assert not same(str(first), gold)
    assert not same(parts[-1], gold)


@given(st.integers(-50, 50), st.integers(1, 50), st.booleans(), st.booleans())
@quick
def test_and_is_the_intersection_and_or_the_union(low, width, left: bool, right: bool) -> None:
    high = low + width
    over, under = (">=" if left else ">"), ("<=" if right else "<")
    between = f"{'[' if left else '('}{low},{high}{']' if right else ')'}"
    beyond = f"(-\\infty,{low}{']' if left else ')'}\\cup{'[' if right else '('}{high},\\infty)"
    for word in (r"\text{ and }", r"\wedge ", ","):
        assert same(f"x{over}{low}{word} x{under}{high}", between)
    assert not same(f"x{over}{low}\\text{{ or }}x{under}{high}", between)
    outer = f"x{'<=' if left else '<'}{low}\\text{{ or }}x{'>=' if right else '>'}{high}"
    assert same(outer, beyond)
    assert not same(outer, between)
    assert not same(outer, outer.replace(" or ", " and "))


ADJECTIVES = ["odd", "even", "positive", "negative", "prime", "nonzero"]
SETS = ["integers", "real numbers", "rational numbers"]
REMARKS = st.tuples(st.sampled_from(["", *ADJECTIVES]), st.sampled_from(SETS))
BODIES = st.sampled_from(["n^2", "2n+1", "x=n\\pi", "f(n)=3n"])


@given(BODIES, REMARKS, REMARKS, st.sampled_from(["for all", "where n is any of the", "for any"]))
@quick
def test_a_remark_on_other_numbers_is_another_answer(body, one, other, lead) -> None:
    answer, gold = (f"{body} \\text{{ {lead} {' '.join(r).strip()} }} n" for r in (one, other))
    assert same(answer, gold) is (one == other)
    # Where only one side makes a remark, it is accepted.
    assert same(body, gold)
    assert same(answer, body)


@given(BODIES, st.integers(0, 20), st.integers(0, 20))
@quick
def test_other_bounds_in_a_remark_are_another_answer(body: str, one: int, other: int) -> None:
    answer, gold = (f"{body} \\text{{ for all integers }} n \\ge {m}" for m in (one, other))
    assert same(answer, gold) is (one == other)


UNITS = ["cm", "m", "km", "kg", "hours", "seconds", "dollars", "degrees", "liters"]


@given(SMALL, st.sampled_from(UNITS), st.sampled_from(UNITS))
@quick
def test_another_unit_is_another_answer(number: int, one: str, other: str) -> None:
    answer, gold = f"{number} \\text{{ {one}}}", f"{number} \\text{{ {other}}}"
    assert same(answer, gold) is (one == other)
    assert same(str(number), gold)
    assert same(answer, str(number))


CHANGING = [
    "trillion", "hundredths", "squared", "factorial", "times ten", "over two", "less one", "thirds",
    "more than two", "and a half", "choose two", "or more", "plus one",
]  # fmt: skip


@given(st.integers(3, 999), st.sampled_from(CHANGING), st.booleans())
@quick
def test_words_that_change_a_number_are_not_its_unit(number: int, words: str, bare: bool) -> None:
    answer = f"{number} {words}" if bare else f"{number} \\text{{ {words}}}"
    assert not same(answer, str(number))
    assert same(f"{number} \\text{{ apples}}", str(number))


FAMILIES = st.sampled_from(
    [("x", "y", "z"), ("a", "b", "c"), ("m", "n"), ("p", "q"), ("x_1", "x_2")]
)


@given(FAMILIES, st.data())
@quick
def test_members_of_a_tuple_go_by_their_names(names, data) -> None:
    values = data.draw(st.lists(SMALL, min_size=len(names), max_size=len(names), unique=True))
    order = data.draw(st.permutations(range(len(names))))
    gold = f"({','.join(map(str, values))})"
    named = f"({','.join(names)})={gold}"
    # An interval of two numbers is no tuple.
    assume(any(one > other for one, other in pairwise(values)) or len(values) > 2)
    listed = ", ".join(f"{names[i]}={values[i]}" for i in order)
    turned = f"({','.join(names[i] for i in order)})=({','.join(str(values[i]) for i in order)})"
    for right in (listed, turned):
        assert same(right, gold), right
        assert same(right, named), right
        assert same(named, right), right
    if list(order) != sorted(order):
        mixed = ", ".join(f"{names[i]}={value}" for i, value in zip(order, values, strict=True))
        assert not same(mixed, gold), mixed
        assert not same(mixed, named), mixed


FORMS = st.sampled_from(["x^2", "{c}x", "x+{c}", "\\sqrt{{x}}", "\\ln x", "\\log_2 x", "x!", "|x|",
                         "\\lfloor x\\rfloor", "2^x", "\\frac{{x}}{{{c}}}", "\\sqrt{{x+{c}}}",
                         "\\sqrt{{x}}+\\ln x", "x(x+{c})", "\\binom{{x}}{{2}}", "e^{{x}}-{c}",
                         "-x"])  # fmt: skip
UNKNOWNS = st.sampled_from(["x", "n", "t", "\\theta "])


@given(FORMS, UNKNOWNS, st.integers(1, 99), st.integers(2, 9))
@quick
def test_an_unsolved_equation_does_not_stand_for_its_right_side(form, name, value, c) -> None:
    left = form.format(c=c).replace("x", name)
    assert not same(f"{left}={value}", str(value))
    assert not same(f"{value}={left}", str(value))
    assert same(f"{name}={value}", str(value))


@given(st.integers(1, 999), st.integers(1, 999))
@quick
def test_a_rounded_gold_has_three_digits_and_is_no_short_fraction(above: int, below: int) -> None:
    value = Fraction(above, below)
    answer = f"\\frac{{{above}}}{{{below}}}"
    for places in (1, 2, 3):
        gold = decimal(round(value, places), places)
        rounded = Fraction(gold)
        digits = len(gold.replace(".", "").lstrip("0"))
        short = abs(rounded.numerator) <= 50 and rounded.denominator < 20
        ends = rounded == value
        terminating = all(
            p in (2, 5) for p in range(2, 1000) if value.denominator % p == 0 and is_prime(p)
        )
        right = ends or (digits >= 3 and not short and rounded.denominator > 1 and not terminating)
        assert same(answer, gold) is right, (answer, gold)
        assert same(gold, answer) is ends


def is_prime(number: int) -> bool:
    return all(number % p for p in range(2, int(number**0.5) + 1))
