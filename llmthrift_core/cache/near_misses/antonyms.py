"""Finds the words of `opposites` in a text, as numbers whose lowest bits tell the alternative and the others the row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from llmthrift_core.cache.near_misses.words import word_set

_ALTERNATIVES: Final = 16
_VOWELS: Final = frozenset("aeiou")
# One row for each choice, rows separated by ";" and alternatives by "/", words of one alternative mean the same.
# These words are also looked for with their endings (s, es, ed, ing, ...).
INFLECTED: Final = """
buy purchase / sell; increase raise boost / decrease reduce lower lessen; start begin / stop end finish; send / receive; deposit /
withdraw withdrawal; credit / debit;
import / export; encrypt / decrypt; encode / decode; upload / download; add / remove subtract; create / delete destroy; push / pull;
win / lose; borrow / lend; arrive / depart; arrival / departure; gain / lose; sender / recipient receiver;
employer / employee; teacher / student; buyer / seller; landlord / tenant; lender / borrower; husband / wife; mother mom mum /
father dad; brother / sister; son / daughter; uncle / aunt; nephew / niece; boy / girl; man / woman; king / queen; actor / actress;
enter / exit leave; rise / fall; hire / fire; appear / disappear vanish; attack / defend; build / demolish; multiply / divide;
expand / shrink collapse; compress / decompress extract; pause / resume; mute / unmute; show / hide; freeze / unfreeze; inhale /
exhale; join / leave; laugh / cry; love / hate; merge / split; plug / unplug; praise / blame criticise criticize; save / spend;
strengthen / weaken; succeed / fail; zip / unzip; tie / untie; wrap / unwrap; pack / unpack; load / unload; fold / unfold; follow /
unfollow; pin / unpin; archive / unarchive; stake / unstake; link / unlink; mount / unmount; block ban / unblock unban; cover /
uncover; dress / undress; advantage pro benefit / disadvantage con drawback; asset / liability; profit / loss; income revenue /
expense expenditure; supply / demand; question / answer; cause / effect; predecessor / successor; ancestor / descendant; winner /
loser; friend / enemy; host / guest; doctor / patient; author / reader; client / server; encoder / decoder; input / output; sunrise
/ sunset; entrance / exit; hello / goodbye; birth / death; born / died die; inflow / outflow; inflation / deflation; numerator /
denominator; prefix / suffix; row / column; plaintiff / defendant; supplier / customer; parent / child; undergraduate / graduate
postgraduate; beginning / end; promotion / demotion; promote / demote; upgrade / downgrade; accelerate / decelerate; inner / outer;
breakfast / lunch / dinner supper / brunch; cat / dog / horse / rabbit / hamster / parrot; apartment / house / hotel / hostel; car /
bicycle bike / motorcycle motorbike / train / plane / bus / ship ferry; cheque / cash; username / password; guitar / piano / violin
/ drum; triangle / square / circle / rectangle / hexagon; apple / banana / orange / cherry / peach / mango / grape; widower / widow;
beef / chicken /
pork / lamb / salmon / tuna
"""
# Of these there is no third: "not able" is "unable", "not open" is "closed".
NEGATED: Final = """
able / unable; possible / impossible; legal lawful / illegal unlawful; valid / invalid; correct / incorrect; complete / incomplete;
available / unavailable; known / unknown; safe / unsafe; happy / unhappy; visible / invisible; regular / irregular; direct /
indirect; dependent / independent; formal / informal; finite / infinite; successful / unsuccessful; authorised authorized /
unauthorised unauthorized; limited / unlimited; paid / unpaid; healthy / unhealthy; usual / unusual; fair / unfair; common /
uncommon rare; secure / insecure; active / inactive; certain / uncertain; equal / unequal; stable / unstable; compatible /
incompatible; edible / inedible; rational / irrational; reversible / irreversible; refundable / nonrefundable; taxable / nontaxable;
tolerant / intolerant; mutable / immutable; signed / unsigned; alive / dead; true / false; present / absent
"""
NEGATED_VERBS: Final = """
like / dislike; agree / disagree; enable / disable; install / uninstall; subscribe / unsubscribe; lock / unlock; activate /
deactivate; connect / disconnect; approve / disapprove; obey / disobey; qualify / disqualify; register / unregister deregister; open
/ close shut; accept / reject decline refuse; allow
permit / deny forbid prohibit disallow; include / exclude
"""
PLAIN: Final = """
before / after; above over / below under beneath; max maximum maximal / min minimum minimal; first / last final / next; previous /
next; hot / cold; hottest / coldest; warm / cool; cheap inexpensive cheaper cheapest / expensive costly dearer pricier priciest;
fast quick quickly rapid / slow slowly; faster quicker / slower; fastest quickest / slowest; old / new; oldest / newest youngest;
older / newer younger; young / elderly; male / female; masculine / feminine; men mens / women womens; children kids / adults; left /
right; north northern / south southern / east eastern / west western; northeast / northwest / southeast / southwest; horizontal
horizontally / vertical vertically; high / low; higher / lower; highest / lowest; more / less fewer; most / least fewest; bigger
larger greater / smaller lesser; biggest largest greatest / smallest; big large / small little tiny / medium; long / short; longer /
shorter; longest / shortest; tall / short; taller / shorter; tallest / shortest; heavy / light; heavier / lighter; heaviest /
lightest; strong / weak; stronger / weaker; thick / thin; wide / narrow; deep / shallow; deepest / shallowest; hard difficult / easy
simple; harder / easier; hardest / easiest; hard / soft; wet / dry; full / empty; rich / poor; richest / poorest; good / bad; best /
worst; better / worse; early / late; earlier / later; earliest / latest; public / private; physical / virtual; ascending /
descending; inbound / outbound; incoming / outgoing; internal / external; inside / outside; indoor indoors / outdoor outdoors;
online / offline; upstream / downstream; upstairs / downstairs; forward forwards / backward backwards; clockwise / counterclockwise
anticlockwise; positive / negative; odd / even; domestic / international; import / export; singular /
plural; single / married / divorced; single / double / triple; once / twice; always / never; often frequently / rarely seldom;
temporary temporarily / permanent permanently; manual manually / automatic automatically; synchronous sync / asynchronous async;
static / dynamic; local / remote; front / rear; personal / business / corporate; fixed / variable; gross / net; wholesale / retail;
optional / mandatory compulsory required; ancient / modern; urban / rural; top / bottom; acid acidic / alkaline; liquid / solid / gas; raw /
cooked; sweet / sour / bitter / salty; tight / loose; loud / quiet; light / dark; day daytime / night nighttime; near nearest
closest / far farthest furthest; guilty / innocent; vegetarian / vegan; analog analogue / digital; anode / cathode; artery / vein;
absolute / relative; abstract / concrete; active / passive; amateur / professional; major / minor; majority / minority; maternal
maternity / paternal paternity; maternity / paternity; optimistic / pessimistic; predator / prey; prime / composite; qualitative /
quantitative; bullish / bearish; bull / bear; senior / junior; subjective / objective; superior / inferior; tangible / intangible;
theoretical / practical; toplevel / nested; uppercase / lowercase; utc / gmt / est / pst / cet; vowel / consonant; hardware /
software; frontend / backend; android / ios; windows / mac macos / linux; one-way oneway / roundtrip; spring / summer / autumn fall
/ winter; red / blue / green / yellow / black / white / purple / pink / brown / grey gray / silver / gold; checking / savings;
mercury / venus / earth / mars / jupiter / saturn / uranus / neptune / pluto; pdf / csv / json / xml / docx / xlsx / html / yaml;
chrome / firefox / safari / edge; premium / basic / standard; plus / minus / times; sodium / potassium / calcium / magnesium / iron
/ zinc / copper / lead; oxygen / hydrogen / nitrogen / helium / carbon; football soccer / basketball / tennis / baseball / cricket /
rugby / hockey / golf; monthly / yearly annually annual / weekly / daily; hourly / daily; adult / child / infant / toddler / senior;
wine / beer / vodka / whisky whiskey; coffee / tea; protein / fat / carbohydrate; diabetes / cancer / asthma / arthritis; kidney /
liver / heart / lung / brain / stomach; elbow / knee / shoulder / ankle / wrist / hip; cups / tablespoons / teaspoons; average /
median; sine / cosine / tangent; area / perimeter / volume; radius / diameter / circumference
"""
PARTICLE_VERBS: Final = word_set(
    "log sign check opt turn zoom switch clock go walk move come fade scroll page dial slide get put bring cut step plug logged "
    "signed checked opted turned zoomed switched clocked logging signing checking opting turning zooming switching scrolling"
)
PARTICLES: Final[dict[str, int]] = {"in": 0, "into": 0, "out": 1, "on": 2, "off": 3, "up": 4, "down": 5}


def forms(word: str) -> Iterator[str]:
    """The word and the forms it may take with a simple ending."""
    yield word
    yield word + "s"
    yield word + "ing"
    if word.endswith("e"):
        yield word + "d"
        yield word[:-1] + "ing"
    elif word.endswith("y") and word[-2:-1] not in _VOWELS:
        yield word[:-1] + "ies"
        yield word[:-1] + "ied"
    else:
        yield word + "ed"
        yield word + "es"
        if len(word) > 2 and word[-2] in _VOWELS and word[-3] not in _VOWELS:
            yield word + word[-1] + "ed"
            yield word + word[-1] + "ing"


_IRREGULAR: Final[dict[str, tuple[str, ...]]] = {
    "buy": ("bought",),
    "sell": ("sold",),
    "begin": ("began", "begun", "beginning"),
    "send": ("sent",),
    "withdraw": ("withdrew", "withdrawn"),
    "win": ("won",),
    "lose": ("lost",),
    "lend": ("lent",),
    "leave": ("left",),
    "rise": ("rose", "risen"),
    "fall": ("fell", "fallen"),
    "hide": ("hid", "hidden"),
    "freeze": ("froze", "frozen"),
    "forbid": ("forbidden",),
    "spend": ("spent",),
    "build": ("built",),
    "wife": ("wives",),
    "man": ("men",),
    "woman": ("women",),
    "child": ("children",),
    "liability": ("liabilities",),
}
_NOT_FORMS: Final = frozenset(
    {"does", "doing", "doer", "moving", "leaves", "left", "pros", "firer", "lover", "coning", "kinging", "planer"}
)


def _table() -> tuple[dict[str, tuple[int, ...]], int]:
    table: dict[str, list[int]] = defaultdict(list)
    rows = 0
    for block, inflected in ((NEGATED, False), (NEGATED_VERBS, True), (INFLECTED, True), (PLAIN, False)):
        for row in block.split(";"):
            for place, alternative in enumerate(row.split("/")):
                for word in alternative.split():
                    _enter(table, word, rows * _ALTERNATIVES + place, inflected)
            rows += 1
    return {word: tuple(sides) for word, sides in table.items()}, rows


def _enter(table: dict[str, list[int]], word: str, side: int, inflected: bool) -> None:
    for form in {*forms(word), *_IRREGULAR.get(word, ())} if inflected else (word,):
        if (form == word or form not in _NOT_FORMS) and side not in table[form]:
            table[form].append(side)


SIDES, _ROWS = _table()
_NEGATED_ROWS: Final = sum(block.count(";") + 1 for block in (NEGATED, NEGATED_VERBS))
OPPOSING_WORDS: Final = frozenset(SIDES)
_PARTICLE_WORDS: Final = frozenset(PARTICLES)
_STEMS: Final = {
    verb: next((other for other in PARTICLE_VERBS if verb != other and verb.startswith(other) and len(verb) - len(other) < 5), verb)
    for verb in PARTICLE_VERBS
}
_VERB_NUMBERS: Final = {verb: number for number, verb in enumerate(sorted(set(_STEMS.values())))}


def sides_of(tokens: Sequence[str], words: frozenset[str]) -> frozenset[int]:
    """The alternatives that a text names."""
    sides = [side for word in words & OPPOSING_WORDS for side in SIDES[word]]
    if words & PARTICLE_VERBS and words & _PARTICLE_WORDS:
        sides.extend(_particle_sides(tokens))
    return frozenset(sides)


def _particle_sides(tokens: Sequence[str]) -> Iterator[int]:
    for place, token in enumerate(tokens):
        if token not in PARTICLE_VERBS:
            continue
        for distance, particle in enumerate(tokens[place + 1 : place + 5]):
            if particle in PARTICLES and (distance == 0 or particle not in ("in", "into", "on") or place + distance + 2 == len(tokens)):
                kind, side = divmod(PARTICLES[particle], 2)
                if particle == "off" and _STEMS[token] in ("log", "sign"):
                    kind, side = 0, 1
                if particle == "on" and _STEMS[token] in ("log", "sign"):
                    kind, side = 0, 0
                if kind == 1 and _STEMS[token] in ("turn", "switch"):
                    yield from SIDES["disable" if side else "enable"]
                yield (_ROWS + 3 * _VERB_NUMBERS[_STEMS[token]] + kind) * _ALTERNATIVES + side
                break


def clash(left: frozenset[int], right: frozenset[int], one_denies: bool) -> tuple[int, int] | None:
    """Two alternatives of one row, each named on one side only. Where there is no third, and one side denies, they may be one."""
    for side in left - right:
        row = side // _ALTERNATIVES
        if one_denies and row < _NEGATED_ROWS:
            continue
        mine = {other for other in left if other // _ALTERNATIVES == row}
        for other in right:
            if other // _ALTERNATIVES == row and other not in mine:
                return side, other
    return None


def spelled(side: int, words: frozenset[str]) -> str:
    """The word of a text which stands for an alternative, or one that means the same."""
    row, alternative = divmod(side, _ALTERNATIVES)
    particle = None if row < _ROWS else (row - _ROWS) % 3 * 2 + alternative
    said = (word for word in sorted(words) if side in SIDES.get(word, ()) or PARTICLES.get(word, -1) == particle)
    meant = sorted((word for word, sides in SIDES.items() if side in sides), key=len)
    return next(said, None) or next(iter(meant), "another particle")
