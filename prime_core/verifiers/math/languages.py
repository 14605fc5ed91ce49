r"""Words of other languages in answers: and, or, is, all reals; what changes a number.

In: words as written. Out: the English word that the rest of this package knows, or whether the
words around a number leave it as it is.
"""

import re

_JOINING = {
    "and": "und sowie et y e и также 和 與 与 及 以及 且 并且 と および 와 과 및 ve en och og oraz",
    "or": "oder ou o или либо 或 或者 または 또는 veya of eller lub",
}
_JOINED = {word: name for name, row in _JOINING.items() for word in row.split()}
# Of ASCII words the shorter ones may be names or products, unless blanks stand around them.
_UNMISTAKABLE = frozenset(["und", "sowie", "oder", "oraz", "veya", "eller"])
_FRENCH = frozenset(["et", "ou"])
_TRAILING = re.compile(r"(.*?)(?:\s+([^\W\d_]+)|([和與与及或]|以及|或者))\s*", re.DOTALL)
_IS = (
    "est|sont|vaut|valent|égale?|ist|sind|beträgt|lautet|es|son|é|è|sono|são|equivale|"
    "равен|равна|равно|равны|равняется|составляет|это"
)
_LEAD = re.compile(rf"(?:.*(?<![^\W\d_]))?(?:{_IS})|.*(?:[为為是]|等于|等於|は|[^\x00-\x7f].*[:=])")
_LEAD_NOUN = re.compile(
    r"(?:答案|答|解|所以|因此|故|共|一共|总共|共有|有|ответ|antwort|lösung|réponse|respuesta"
    r"|solución|risposta|resposta|also|somit|donc|alors|ainsi|entonces|luego|portanto|quindi|итак"
    r"|значит|следовательно)[\s,:]*"
)
# A value that is denied, negated, halved or bounded is another one, or none.
_CHANGING = re.compile(
    r"[不非否未没無无负負倍]|一半|大于|小于|多于|少于|大於|小於|超|至少|至多|大约|大約|约为|分之|除以|以外"
    r"|\b(?:nicht|nie|kein\w*|ne|n'\w+|pas|jamais|no|nunca|non|não|nem|не|нет|ни|неверно|неправда"
    r"|минус|minus|moins|menos|meno|половин\w*|hälfte|halb\w*|moitié|mitad|metà|metade|doppel\w*"
    r"|double|doble|doppio|dobro|удво\w*|больше|меньше|более|менее|mehr|weniger|größer|kleiner"
    r"|más de|mayor que|menor que|plus de|mindestens|höchstens|über|unter|wurzel|racine|raíz|корень"
    r"|quadrat|carré|cuadrado|квадрат|куб|falsch|faux|falso)\b",
    re.IGNORECASE,
)
_CHANGING_BEHIND = re.compile(
    r"[半多余餘幾几倍百千兆万萬亿億]|分之|以上|以下|以内|以外|左右|[成折]$|[平立]方$|阶乘|次方"
    r"|\b(?:тысяч\w*|тыс|млн|млрд|миллион\w*|миллиард\w*|десят\w*|сот\w*|процент\w*"
    r"|tausend|hundert|millionen|milliard\w*|mille|mil|millones|ciento|cien|fois|veces|раза?|hoch|quadrat|fakultät"
    r"|prozent|и более)\b",
    re.IGNORECASE,
)
_MAX_CHARS = 200
_REALS = frozenset([
    "alle reellen zahlen", "tous les réels", "tous les nombres réels", "todos los reales",
    "todos los números reales", "все действительные числа", "全体实数", "任意实数", "一切实数",
    "所有实数",
])  # fmt: skip


def joining(word: str, alone: bool) -> str | None:
    """'and' or 'or' where the word means it; alone: blanks stand on both sides of it."""
    lowered = word.lower()
    name = _JOINED.get(lowered)
    if name is None or (lowered.isascii() and not (alone or lowered in _UNMISTAKABLE)):
        return None
    return name


def bare_joining(word: str, alone: bool) -> str | None:
    r"""As joining(), outside \text: there one or two letters are names, save 'et' and 'ou'."""
    lowered = word.lower()
    if lowered.isascii() and lowered not in _UNMISTAKABLE | _FRENCH:
        return None
    return joining(word, alone)


def trailing_joining(words: str) -> tuple[str, str] | None:
    """('dollars', 'and') of 'dollars and'; None where no such word ends them."""
    match = _TRAILING.fullmatch(words) if len(words) <= _MAX_CHARS else None
    if match is None or not match.group(1):
        return None
    word = match.group(2) or match.group(3)
    name = word.lower() if word.lower() in ("and", "or") else joining(word, True)
    return None if name is None else (match.group(1), name)


def is_lead(words: str) -> bool:
    """Whether words before a value only announce it. English ones are tokens.py's."""
    if len(words) > _MAX_CHARS:
        return False
    lowered = " ".join(words.lower().split())
    if _CHANGING.search(lowered):
        return False
    return bool(_LEAD_NOUN.fullmatch(lowered) or _LEAD.fullmatch(lowered))


def changes_number(words: str) -> bool:
    """Whether foreign words behind a number make another number of it."""
    return len(words) > _MAX_CHARS or bool(_CHANGING_BEHIND.search(words))


def means_reals(words: str) -> bool:
    """All real numbers."""
    return words in _REALS
