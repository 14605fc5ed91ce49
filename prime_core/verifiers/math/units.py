"""Units that answers carry: their canonical names, and when two of them contradict.

A unit on one side only says nothing; two known units that differ are different answers. Unknown
words after a number (apples, edges) are not units, and never contradict.
"""

import re
from fractions import Fraction

from prime_core.verifiers.math import number_words

_NAMES = {
    "centimeter": "cm centimeter centimetre centimeters centimetres cms 厘米 см zentimeter",
    "millimeter": "mm millimeter millimetre millimeters millimetres 毫米 мм",
    "kilometer": "km kilometer kilometre kilometers kilometres kms 千米 公里 км kilómetros",
    "decimeter": "dm decimeter decimetre decimeters decimetres",
    "meter": "m meter metre meters metres 米 м метр метра метров metros mètre mètres",
    "inch": "inch inches in",
    "foot": "ft foot feet",
    "yard": "yd yds yard yards",
    "mile": "mi mile miles",
    "gram": "g gram grams 克 г грамм gramos",
    "kilogram": "kg kilogram kilograms kilo kilos 千克 公斤 кг kilogramm",
    "milligram": "mg milligram milligrams",
    "pound": "lb lbs pound pounds",
    "ounce": "oz ounce ounces",
    "ton": "ton tons tonne tonnes",
    "liter": "l liter litre liters litres 升 л литр литра литров litros",
    "milliliter": "ml milliliter millilitre milliliters millilitres 毫升 мл",
    "gallon": "gal gallon gallons",
    "quart": "quart quarts",
    "pint": "pint pints",
    "cup": "cup cups",
    "second": "s sec secs second seconds 秒 сек секунд sekunden segundos secondes",
    "minute": "min mins minute minutes 分钟 分鐘 мин минут минуты minuten minutos",
    "hour": "h hr hrs hour hours 小时 小時 ч час часа часов stunde stunden heure heures hora horas",
    "day": "day days 天 день дня дней tag tage jour jours día días",
    "week": "week weeks 周 недель недели wochen semaines semanas",
    "month": "month months 个月 месяцев monate mois meses",
    "year": "yr yrs year years 年 год года лет jahre ans años",
    "degree": "deg degree degrees 度 градус градуса градусов grad",
    "celsius": "celsius",
    "fahrenheit": "fahrenheit",
    "radian": "rad radian radians",
    "dollar": "$ usd dollar dollars 美元 доллар доллара долларов",
    "cent": "cent cents ¢",
    "euro": "€ euro euros 欧元 евро",
    "sterling": "£ gbp",
    "ruble": "₽ руб рубль рубля рублей",
    "rupee": "₹ rupee rupees",
    # Both currencies have the sign ¥, so that they cannot contradict.
    "yen": "¥ yen yuan 元 円 日元",
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
    "am": "am a.m. a.m",
    "pm": "pm p.m. p.m",
}
UNITS = {spelling: name for name, row in _NAMES.items() for spelling in row.split()}
# Units where the other side has a unit, else names: 5m may be five metres or 5 times m.
SINGLE_LETTERS = frozenset("mgslhLNJWVKk")
_POWER = {
    "square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3, "平方": 2, "立方": 3,
    "кв": 2, "квадратных": 2, "кубических": 3, "cuadrados": 2, "carrés": 2,
}  # fmt: skip
_PLAIN = ""  # 'units', whichever they are: first in order
_POWER_BEHIND = frozenset(["squared", "cubed", "cuadrados", "carrés"])
_WORD = re.compile(r"平方|立方|[^\W\d_]+(?:\.m\.?)?|[$€£¥₹₽¢%]|/|\^\s*\{?\s*-?\d")


def canonical(words: str) -> tuple[tuple[str, int], ...]:
    """Known units in the words with their powers: 'square cm' and 'cm^2' give (('centimeter', 2),).

    The words are those after a number; '/' and 'per' make the powers behind them negative.
    """
    found: dict[str, int] = {}
    sign, pending, last = 1, 1, None
    for word in _WORD.findall(words.replace("\\", "")):
        lowered = word.lower()
        if word[0] == "^":
            if last is not None:
                found[last] *= int(word[1:].strip("{ "))
        elif lowered in ("/", "per"):
            sign = -1
        elif lowered in _POWER:
            if lowered in _POWER_BEHIND and last is not None:
                found[last] *= _POWER[lowered]
            else:
                pending = _POWER[lowered]
        elif lowered in UNITS or lowered in ("unit", "units"):
            last = UNITS.get(lowered, _PLAIN)
            found[last] = found.get(last, 0) + sign * pending
            pending = 1
    # 'million' is part of the number: number_words.py has it.
    return tuple(sorted(item for item in found.items() if item[0] not in number_words.FACTORS))


def contradict(one: str, other: str) -> bool:
    """True when both name known units, and not the same ones, or 'units' to another power."""
    first, second = canonical(one), canonical(other)
    if not (first and second):
        return False
    plain, other_plain = first[0][0] == _PLAIN, second[0][0] == _PLAIN
    if plain == other_plain:
        return first != second
    # Square units may be any, of an area: cm^2, but not cm. 'Units' alone may be of anything.
    power = (first if plain else second)[0][1]
    return power > 1 and power != sum(power for _, power in (second if plain else first))


def is_unit(words: str) -> bool:
    """Whether words are known units with powers and nothing else: m^2, km/h, kg m^2."""
    found = _WORD.findall(words)
    unread = _WORD.sub("", words).strip(" {}.")
    return not unread and any(word in UNITS for word in found) and all(map(_is_part, found))


def _is_part(word: str) -> bool:
    return word[0] in "/^" or word.lower() in UNITS or word.lower() in _POWER


def multiplier(words: str) -> Fraction:
    """The factor in words such as 'million dollars'; 1 without one."""
    return number_words.factor(words)
