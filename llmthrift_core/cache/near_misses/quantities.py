"""Units, currencies and words of time, each with the one spelling under which it is compared."""

from __future__ import annotations

from typing import Final

from llmthrift_core.cache.near_misses.words import word_set


def _spellings(*lines: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for line in lines:
        first, *others = line.split()
        table[first] = first
        table.update((other, first) for other in others)
    return table


CURRENCY_SIGNS: Final[dict[str, str]] = {"$": "usd", "€": "eur", "£": "gbp", "¥": "jpy", "₹": "inr", "₩": "krw", "₽": "rub", "₿": "btc"}
CURRENCIES: Final = _spellings(
    "usd dollar dollars buck bucks us$",
    "eur euro euros",
    "gbp quid sterling",
    "jpy yen",
    "inr rupee rupees",
    "cny yuan rmb renminbi",
    "chf franc francs",
    "btc bitcoin bitcoins",
    "eth ethereum ether",
    "aud a$",
    "cad c$",
    "mxn peso pesos",
    "rub ruble rubles rouble roubles",
    "krw",
    "sek",
    "nok",
    "dkk",
    "pln zloty",
    "brl",
    "nzd",
    "hkd",
    "sgd",
    "zar",
    "aed",
    "czk",
    "huf",
    "thb baht",
    "ils shekel shekels",
    "cent cents",
    "penny pence pennies",
)
POUNDS: Final = frozenset({"pound", "pounds"})
WEIGHTS: Final = frozenset({"kg", "lb", "g", "oz", "mg", "ton", "stone", "weigh", "weighs", "weight", "heavy", "gram"})

# Units that are always named on purpose: one side naming them and the other not is a difference.
UNITS: Final = _spellings(
    "kg kgs kilo kilos kilogram kilograms kilogramme kilogrammes",
    "lb lbs",
    "gram grams gramme grammes",
    "mg milligram milligrams",
    "oz ounce ounces",
    "ton tons tonne tonnes",
    "km kms kilometer kilometers kilometre kilometres",
    "mile miles mi",
    "meter meters metre metres",
    "cm centimeter centimeters centimetre centimetres",
    "mm millimeter millimeters millimetre millimetres",
    "inch inches",
    "foot feet ft",
    "yd yards",
    "kmh kph km/h",
    "mph mi/h",
    "knot knots",
    "celsius centigrade °c",
    "fahrenheit °f",
    "kelvin kelvins",
    "liter liters litre litres",
    "ml milliliter milliliters millilitre millilitres",
    "gallon gallons",
    "pint pints",
    "kb kilobyte kilobytes",
    "mb megabyte megabytes",
    "gb gigabyte gigabytes",
    "tb terabyte terabytes",
    "kbps",
    "mbps",
    "gbps",
    "byte bytes",
    "ghz gigahertz",
    "mhz megahertz",
    "khz kilohertz",
    "hz hertz",
    "kw kilowatt kilowatts",
    "kwh",
    "watt watts",
    "volt volts",
    "amp amps ampere amperes",
    "joule joules",
    "kcal calorie calories kcals",
    "acre acres",
    "hectare hectares",
    "sqft",
    "sqm",
    "teaspoon teaspoons tsp",
    "tablespoon tablespoons tbsp",
    "% percentage",
    "px pixels",
    "radian radians",
    "lightyear lightyears",
)
# Units of one letter or of two meanings: they count only right after a number.
AFTER_NUMBER: Final = _spellings(
    "gram g",
    "meter m",
    "liter l",
    "second s sec secs",
    "hour h hr hrs",
    "celsius c",
    "fahrenheit f",
    "kelvin k",
    "watt w",
    "volt v",
    "amp a",
    "inch in",
    "day d",
    "degree degrees °",
    "cup cups",
    "yd yard",
    "stone",
    "minute min mins",
)
# Spans of time: only two different ones contradict each other.
SPANS: Final = _spellings(
    "second seconds secs",
    "millisecond milliseconds ms",
    "minute minutes min mins",
    "hour hours hr hrs hourly",
    "day days daily",
    "week weeks weekly",
    "fortnight fortnights",
    "month months monthly",
    "quarter quarters quarterly",
    "year years yearly annual annually yr yrs",
    "decade decades",
    "century centuries",
    "weekend weekends",
)
MONTHS: Final = _spellings(
    "january jan", "february feb", "march", "april apr", "june jun", "july jul", "august aug",
    "september sept sep", "october oct", "november nov", "december dec",
)  # fmt: skip
MONTH_NUMBERS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
DAYS: Final = _spellings(
    "monday mondays", "tuesday tuesdays tue tues", "wednesday wednesdays", "thursday thursdays thu thurs", "friday fridays fri",
    "saturday saturdays", "sunday sundays", "today todays", "yesterday yesterdays", "tomorrow tomorrows", "tonight",
    "weekday weekdays", "morning mornings", "afternoon afternoons", "evening evenings", "midnight", "noon midday",
    "am", "pm", "q1", "q2", "q3", "q4", "bc", "christmas xmas", "easter", "thanksgiving", "halloween",
)  # fmt: skip
SHORT_DATES: Final[dict[str, str]] = {
    "mon": "monday", "wed": "wednesday", "sat": "saturday", "sun": "sunday", "mar": "march", "may": "may",
}  # fmt: skip
DATE_LEADS: Final = word_set("on in next last this every until till by before after since of early late mid from between")
MAY_LEADS: Final = word_set("in next last this every until till by before after since of early late mid")
RELATIONS: Final[dict[str, str]] = {
    "last": "last", "previous": "last", "past": "last", "next": "next", "coming": "next", "following": "next",
    "this": "this", "current": "this",
}  # fmt: skip
PERIODS: Final = word_set("week weeks month months year years quarter weekend decade century night semester fortnight")
