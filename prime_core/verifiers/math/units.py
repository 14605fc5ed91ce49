"""Units that answers carry: their canonical names, and when two of them contradict.

A unit on one side only says nothing; two known units that differ are different answers. Unknown
words after a number (apples, edges) are not units, and never contradict.
"""

import re
from fractions import Fraction

from prime_core.verifiers.math import number_words

_NAMES = {
    "centimeter": "cm centimeter centimetre centimeters centimetres cms",
    "millimeter": "mm millimeter millimetre millimeters millimetres",
    "kilometer": "km kilometer kilometre kilometers kilometres kms",
    "decimeter": "dm decimeter decimetre decimeters decimetres",
    "meter": "m meter metre meters metres",
    "inch": "inch inches in",
    "foot": "ft foot feet",
    "yard": "yd yds yard yards",
    "mile": "mi mile miles",
    "gram": "g gram grams",
    "kilogram": "kg kilogram kilograms kilo kilos",
    "milligram": "mg milligram milligrams",
    "pound": "lb lbs pound pounds",
    "ounce": "oz ounce ounces",
    "ton": "ton tons tonne tonnes",
    "liter": "l liter litre liters litres",
    "milliliter": "ml milliliter millilitre milliliters millilitres",
    "gallon": "gal gallon gallons",
    "quart": "quart quarts",
    "pint": "pint pints",
    "cup": "cup cups",
    "second": "s sec secs second seconds",
    "minute": "min mins minute minutes",
    "hour": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "yr yrs year years",
    "degree": "deg degree degrees",
    "celsius": "celsius",
    "fahrenheit": "fahrenheit",
    "radian": "rad radian radians",
    "dollar": "$ usd dollar dollars",
    "cent": "cent cents ¢",
    "euro": "€ euro euros",
    "sterling": "£ gbp",
    "rupee": "₹ rupee rupees",
    # Both currencies have the sign ¥, so that they cannot contradict.
    "yen": "¥ yen yuan",
    "newton": "n newton newtons",
    "joule": "j joule joules",
    "watt": "w watt watts",
    "volt": "v volt volts",
    "kelvin": "k kelvin kelvins",
    "percent": "% percent",
    "acre": "acre acres",
    "hectare": "ha hectare hectares",
    "dozen": "dozen dozens",
    "million": "million millions",
    "billion": "billion billions",
    "thousand": "thousand thousands",
    "hundred": "hundred hundreds",
    "mph": "mph",
    # As units, so that 6 am and 6 pm contradict.
    "am": "am a.m.",
    "pm": "pm p.m.",
}
UNITS = {spelling: name for name, row in _NAMES.items() for spelling in row.split()}
# Units where the other side has a unit, else names: 5m may be five metres or 5 times m.
SINGLE_LETTERS = frozenset("mgslhLNJWVKk")
_POWER = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}


def canonical(words: str) -> tuple[tuple[str, int], ...]:
    """Known units in the words with their powers: 'square cm' and 'cm^2' give (('centimeter', 2),).

    The words are those after a number; '/' and 'per' make the powers behind them negative.
    """
    found: dict[str, int] = {}
    sign, pending, last = 1, 1, None
    for word in re.findall(r"[^\W\d_]+(?:\.m\.)?|[$€£¥₹¢%]|/|\^\{?-?\d", words.replace("\\", "")):
        lowered = word.lower()
        if word[0] == "^":
            if last:
                found[last] *= int(word[1:].strip("{"))
        elif lowered in ("/", "per"):
            sign = -1
        elif lowered in _POWER:
            if lowered.endswith("ed") and last:
                found[last] *= _POWER[lowered]
            else:
                pending = _POWER[lowered]
        elif lowered in UNITS:
            last = UNITS[lowered]
            found[last] = found.get(last, 0) + sign * pending
            pending = 1
    # 'million' is part of the number: number_words.py has it.
    return tuple(sorted(item for item in found.items() if item[0] not in number_words.FACTORS))


def contradict(one: str, other: str) -> bool:
    """True when both name known units, and not the same ones."""
    first, second = canonical(one), canonical(other)
    return bool(first and second and first != second)


def multiplier(words: str) -> Fraction:
    """The factor in words such as 'million dollars'; 1 without one."""
    return number_words.factor(words)
