"""Everyday words by their role in a sentence: what carries no fact, what denies, what tells of a failure."""

from __future__ import annotations

from typing import Final


def word_set(words: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(words.split())


def word_list(words: str) -> list[str]:
    """The words of a line, in order."""
    return words.split()


ARTICLES: Final = word_set("a an the this that these those some any each every all both such another other others own certain")
PRONOUNS: Final = word_set(
    "i me my mine myself you your yours yourself he him his she her hers it its we us our ours they them their theirs u ur im ive "
    "someone somebody anyone anybody everyone everybody something anything everything there here"
)
AUXILIARIES: Final = word_set(
    "am is are was were be been being do does did done doing have has had having can could shall should will would may might must "
    "ought need let lets get gets got getting"
)
LINKS: Final = word_set(
    "and or but if then so because as while though although than too also just very really only even still yet already again once of "
    "at by for with about against between into through during before after above below to from up down in out on off over under via "
    "per upon onto within until since like near around"
)
QUESTIONS: Final = word_set("what which who whom whose when where why how whether")
COURTESIES: Final = word_set(
    "please pls plz thanks thank thx hi hello hey dear kindly sorry ok okay yes no not now good sir madam mr mrs ms dr"
)
STOP_WORDS: Final = ARTICLES | PRONOUNS | AUXILIARIES | LINKS | QUESTIONS | COURTESIES
STARTERS: Final = STOP_WORDS | word_set(
    "tell show give explain describe list find convert translate calculate compute compare write make create add remove delete change "
    "update send move transfer set turn open close start stop cancel book order buy sell pay check help want try contact call ask "
    "define summarise summarize name say read use using install configure reset remind play search look see go take bring put keep "
    "best top worst cheapest fastest new old many most few several one two three first last next recently currently today yesterday "
    "tomorrow tonight suppose given considering according assume imagine looking trying wondering hoping provide suggest recommend "
    "generate draft fix solve count estimate identify could apparently somehow maybe perhaps actually basically unfortunately anyway "
    "however"
)
# Acronyms and names of days or things which people also write small or put in other words.
GENERIC_CAPITALS: Final = word_set(
    "ok asap faq faqs atm atms pin pins id ids fyi btw pls plz thx omg wtf lol diy aka rsvp tba eta info app tv pc need help never "
    "always really urgent urgently immediately internet web n y q am pm re ps etc vs mum mom dad god"
)
CONTRACTIONS: Final[dict[str, tuple[str, ...]]] = {
    "can't": ("can", "not"),
    "cant": ("can", "not"),
    "cannot": ("can", "not"),
    "won't": ("will", "not"),
    "wont": ("will", "not"),
    "shan't": ("shall", "not"),
    "ain't": ("is", "not"),
    "aint": ("is", "not"),
    "let's": ("let", "us"),
    "o'clock": (),
    "oclock": (),
    "y'all": ("you", "all"),
    "gonna": ("going", "to"),
    "wanna": ("want", "to"),
    "whats": ("what", "is"),
    "wheres": ("where", "is"),
    "hows": ("how", "is"),
    "whos": ("who", "is"),
    "whom": ("who",),
    "e-mail": ("email",),
    "e-mails": ("emails",),
    "login": ("log", "in"),
    "logins": ("log", "in"),
    "logon": ("log", "in"),
    "logout": ("log", "out"),
    "logoff": ("log", "out"),
    "signin": ("sign", "in"),
    "signup": ("sign", "up"),
    "signout": ("sign", "out"),
    "checkin": ("check", "in"),
    "checkout": ("check", "out"),
    "percent": ("%",),
    "whilst": ("while",),
    "amongst": ("among",),
    "thru": ("through",),
    "tho": ("though",),
    "docs": ("documents",),
    "acct": ("account",),
    "accts": ("accounts",),
    "appt": ("appointment",),
    "approx": ("approximately",),
    "dept": ("department",),
    "govt": ("government",),
    "msg": ("message",),
    "msgs": ("messages",),
    "pic": ("picture",),
    "pics": ("pictures",),
    "pwd": ("password",),
    "qty": ("quantity",),
    "bday": ("birthday",),
    "w/o": ("without",),
    "w/": ("with",),
    "b/c": ("because",),
    **{f"{verb}nt": (verb, "not") for verb in word_list("do does did is are was were has have had could should would must need")},
}
TAILS: Final = ("'s", "'re", "'ve", "'ll", "'d", "'m", "'")
NEGATORS: Final = word_set(
    "not no never without except neither none nor nothing nobody nowhere non excluding cant cannot dont doesnt didnt nope"
)
# These leave a thing out, which the other text must do as well.
STRICT_NEGATORS: Final = word_set("without except non excluding neither nor")
# A negator followed by one of these words says nothing about what is asked for.
HARMLESS_AFTER: Final[dict[str, frozenset[str]]] = {
    "not": word_set("you we sure only just know remember recall understand figure find worry mind hesitate there to forget certain"),
    "no": word_set("problem problems worries matter doubt idea clue thanks rush ,"),
    "nothing": frozenset({"but"}),
    "never": frozenset({"mind"}),
    "none": frozenset(),
}
# A negator which follows one of these words does not deny either.
HARMLESS_BEFORE: Final[dict[str, frozenset[str]]] = {
    "not": frozenset(["why", "or", "if"]),
    "no": word_set("or say oh why"),
}
FILLERS: Final = word_set("i you we they he she it be been being have has had seem seems to really actually even get got getting")
# Words which tell of a failure or an absence: "did not go through" and "failed" may be one question.
TROUBLES: Final = word_set(
    "decline declined declines declining fail failed fails failing failure failures refused refuse refuses refusing rejected reject "
    "rejects rejecting rejection broken breaks broke break missing lost lose losing stuck unable impossible wrong wrongly error "
    "errors problem problems issue issues trouble troubles cancelled canceled blocked block denied deny invalid unsuccessful "
    "unsuccessfully stopped stop stops stopping incorrect unknown unexpected unauthorised unauthorized unrecognised unrecognized "
    "unavailable unhappy disappeared disappear vanished gone forgot forgotten forget waiting wait waited pending late later delayed "
    "delay delays overdue still yet hasnt avoid avoiding prevent prevents lack lacks lacking absent absence crash crashes crashed "
    "crashing frozen freezes down dead damaged faulty defective mistake mistaken mistakenly reverted reversed returned undo "
    "incomplete outstanding expired disabled locked suspended refuted difficulty difficulties struggling struggle cannot hardly "
    "barely instead free unpaid unused off zero alone exempt optional avoided bug bugs glitch malfunctioning malfunction offline "
    "empty disallow disallowed forbidden prohibited banned illegal unlawful restrict restricted restriction restrictions limit "
    "limited limits ineligible excluded exclude excludes closed shut"
)
_VERBS: Final = (
    "write wrote written; build built; make made; find found; invent invention; go went gone; win won; sell sold; buy bought; send "
    "sent; pay paid; begin began begun; sing sang sung; take took taken; give gave given; break broke broken; speak spoke spoken; "
    "see saw seen; know knew known; draw drew drawn; eat ate eaten; fall fell fallen; choose chose chosen; lead led; lose lost; "
    "teach taught; think thought; discover discovery; run ran; come came; hold held; keep kept; leave left; meet met; fly flew "
    "flown; die died; steal stole stolen; drive drove driven; grow grew grown; get got; spend spent; tell told"
)
IRREGULAR: Final[dict[str, str]] = {past: verb for verb, *pasts in map(str.split, _VERBS.split(";")) for past in pasts}
