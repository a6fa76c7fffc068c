"""Well-known proper nouns, so that texts in lower case which name different ones are told apart."""

from __future__ import annotations

from typing import Final

# One name for each entry; the other spellings follow in the same entry. A spelling of two or three words is joined with "_".
_COUNTRIES: Final = """
usa america american americans united_states; uk united_kingdom great_britain britain british; england english; scotland scottish;
wales welsh; ireland irish; france french; germany german germans; spain spanish spaniards; italy italian italians; portugal portuguese;
netherlands dutch holland; belgium belgian; switzerland swiss; austria austrian; sweden swedish; norway norwegian; denmark danish;
finland finnish; iceland icelandic; poland; russia russian; ukraine ukrainian; greece greek; hungary hungarian; romania romanian;
bulgaria bulgarian; croatia croatian; serbia serbian; slovenia slovenian; slovakia slovak; czechia czech czech_republic; estonia
estonian; latvia latvian; lithuania lithuanian; albania albanian; malta maltese; cyprus cypriot; luxembourg; monaco; china chinese;
japan japanese; korea korean; south_korea; north_korea; india indian; pakistan pakistani; bangladesh bangladeshi; nepal nepalese;
sri_lanka; thailand thai; vietnam vietnamese; cambodia; laos; malaysia malaysian; singapore singaporean; indonesia indonesian;
philippines filipino philippine; taiwan taiwanese; mongolia mongolian; kazakhstan; uzbekistan; iran iranian; iraq iraqi; israel israeli;
palestine palestinian; lebanon lebanese; syria syrian; jordan; saudi saudi_arabia; uae emirates; qatar; kuwait; yemen; oman; turkey
turkish; egypt egyptian; libya; tunisia; algeria; morocco moroccan; nigeria nigerian; ghana; kenya kenyan; ethiopia ethiopian; uganda;
tanzania; zimbabwe; zambia; rwanda; senegal; south_africa; somalia; sudan; congo; angola; mozambique; namibia; botswana; canada canadian;
mexico mexican; brazil brazilian; argentina argentine argentinian; chile chilean; peru peruvian; colombia colombian; venezuela
venezuelan; ecuador; bolivia; uruguay; paraguay; cuba cuban; jamaica; haiti; panama; guatemala; honduras; costa_rica; australia
australian; new_zealand; fiji; afghanistan afghan; europe european; asia asian; africa african; antarctica; arctic
"""
_PLACES: Final = """
london; paris; berlin; munich; hamburg; frankfurt; cologne; madrid; barcelona; seville; valencia; rome; milan; venice; florence; naples;
lisbon; porto; amsterdam; rotterdam; brussels; zurich; geneva; vienna; stockholm; oslo; copenhagen; helsinki; reykjavik; warsaw; krakow;
prague; budapest; bucharest; sofia; athens; istanbul; ankara; moscow; kyiv kiev; dublin; edinburgh; glasgow; manchester; liverpool;
birmingham; leeds; bristol; oxford; cambridge; tokyo; osaka; kyoto; seoul; busan; beijing; shanghai; shenzhen; hong_kong; taipei; delhi
new_delhi; mumbai; bangalore bengaluru; chennai; kolkata; hyderabad; karachi; lahore; dhaka; bangkok; hanoi; jakarta; manila;
kuala_lumpur; sydney; melbourne; brisbane; perth; canberra; auckland; wellington; cairo; nairobi; lagos; johannesburg; cape_town;
casablanca; dubai; abu_dhabi; doha; riyadh; tehran; baghdad; jerusalem; tel_aviv; toronto; montreal; vancouver; ottawa; calgary; nyc
new_york new_york_city; los_angeles; san_francisco; san_diego; san_jose; las_vegas; chicago; boston; seattle; houston; dallas; austin;
miami; orlando; atlanta; denver; philadelphia; detroit; minneapolis; portland; nashville; baltimore; brooklyn; manhattan; honolulu;
mexico_city; bogota; lima; santiago; buenos_aires; rio_de_janeiro; sao_paulo; havana; alabama; alaska; arizona; arkansas; california
californian; colorado; connecticut; delaware; florida; hawaii; idaho; illinois; indiana; iowa; kansas; kentucky; louisiana; maine;
maryland; massachusetts; michigan; minnesota; mississippi; missouri; montana; nebraska; nevada; new_hampshire; new_jersey; new_mexico;
north_carolina; south_carolina; north_dakota; south_dakota; ohio; oklahoma; oregon; pennsylvania; rhode_island; tennessee; texas texan;
utah; vermont; virginia; washington; west_virginia; wisconsin; wyoming; heathrow; gatwick; jfk; alps; himalayas; everest; amazon;
sahara; nile; danube; thames; pacific; atlantic
"""
_THINGS: Final = """
google; microsoft; facebook; instagram; whatsapp; twitter; tiktok; snapchat; linkedin; reddit; youtube; netflix; spotify; hulu; disney;
samsung; huawei; xiaomi; nokia; sony; intel; nvidia; amd; ibm; dell; lenovo; hp; tesla; toyota; honda; ford; bmw; audi; mercedes;
volkswagen vw; porsche; ferrari; nissan; hyundai; volvo; boeing; airbus; uber; lyft; airbnb; expedia; ebay; walmart; costco; ikea; nike;
adidas; starbucks; mcdonalds; pepsi; coca_cola coke; openai; chatgpt; anthropic; claude; gemini; mistral; copilot; siri; alexa; slack;
skype; telegram; dropbox; salesforce; shopify; wordpress; adobe; photoshop; excel; powerpoint; outlook; gmail; iphone; ipad;
macbook; kindle; playstation; xbox; nintendo; aws; azure; gcp; cloudflare; heroku; vercel; visa; mastercard; amex american_express;
discover_card; maestro; paypal; stripe; venmo; zelle; klarna; apple_pay; google_pay gpay; samsung_pay; revolut; monzo; hsbc; barclays;
citibank; iban; swift; sepa; bic; binance; coinbase; dogecoin; python; java; javascript js; typescript; golang; rust; kotlin; ruby; php;
perl; haskell; scala; matlab; fortran; cobol; lua; dart; elixir; erlang; julia; sql; bash; powershell; html; css; angular; vue;
svelte; django; flask; fastapi; rails; laravel; spring_boot; nodejs; pandas; numpy; pytorch; tensorflow; keras; postgresql postgres;
mysql; mariadb; sqlite; mongodb mongo; redis; valkey; cassandra; dynamodb; elasticsearch; neo4j; snowflake; bigquery; databricks; kafka;
rabbitmq; docker; podman; kubernetes k8s; terraform; ansible; jenkins; github; gitlab; bitbucket; git; svn; linux; ubuntu; debian;
fedora; windows; macos; android; ios; firefox; nginx; apache; latin; arabic; hebrew; hindi; urdu; bengali; tamil; punjabi; persian
farsi; swahili; mandarin; cantonese; catalan; basque; esperanto; christianity christian; islam muslim; buddhism buddhist; hinduism
hindu; judaism jewish
"""
_PEOPLE: Final = """
john; james; robert; michael; david; william; richard; joseph; thomas; charles; daniel; matthew; anthony; steven; andrew; joshua;
kevin; brian; george; edward; ronald; timothy; jason; jeffrey; ryan; jacob; gary; nicholas; eric; jonathan; stephen; larry; justin;
scott; brandon; benjamin; samuel; peter; paul; mary; patricia; jennifer; linda; elizabeth; barbara; susan; jessica; sarah; karen; lisa;
nancy; betty; margaret; sandra; ashley; emily; donna; michelle; carol; amanda; melissa; deborah; stephanie; rebecca; laura; helen; anna;
maria; jane; alice; emma; olivia; sophia; musk; bezos; zuckerberg; altman; buffett; putin; zelensky; merkel; macron; churchill; stalin;
hitler; mandela; einstein; newton; darwin; shakespeare; mozart; beethoven; bach; picasso; napoleon; caesar;
lincoln; obama; trump; biden; gandhi; tesla; edison; galileo; plato; aristotle; socrates; dickens; tolstoy; hemingway; orwell; austen
"""


def _entries() -> tuple[dict[str, str], dict[str, tuple[tuple[tuple[str, ...], str], ...]]]:
    single: dict[str, str] = {}
    longer: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for entry in ";".join((_COUNTRIES, _PLACES, _THINGS, _PEOPLE)).split(";"):
        spellings = entry.split()
        for spelling in spellings:
            name = spellings[0].replace("_", " ")
            first, *rest = spelling.split("_")
            if rest:
                longer.setdefault(first, []).append((tuple(rest), name))
            else:
                single[first] = name
    return single, {first: tuple(sorted(found, key=lambda item: -len(item[0]))) for first, found in longer.items()}


NAMES, LONGER_NAMES = _entries()
NAME_WORDS: Final = frozenset(NAMES)
_PARTS: Final[dict[str, frozenset[str]]] = {
    each: frozenset().union(*({first, *rest} for first, found in LONGER_NAMES.items() for rest, name in found if name == each), {each})
    for each in {name for found in LONGER_NAMES.values() for _, name in found}
}
FIRST_WORDS: Final = frozenset(LONGER_NAMES)
ABBREVIATED: Final[dict[str, str]] = {
    "u.s": "usa", "u.s.a": "usa", "us": "usa", "u.k": "uk", "n.y": "nyc", "la": "los angeles", "ny": "nyc", "sf": "san francisco",
    "eu": "eu",
}  # fmt: skip


def known_names(tokens: list[str], words: frozenset[str]) -> tuple[set[str], set[str]]:
    """The well-known names in a text, each in its one spelling, and the words which make up the longer ones."""
    taken: set[str] = set()
    known: set[str] = set()
    if words & FIRST_WORDS:
        for place, token in enumerate(tokens):
            for rest, name in LONGER_NAMES.get(token, ()):
                if tuple(tokens[place + 1 : place + 1 + len(rest)]) == rest:
                    known.add(name)
                    taken.update((token, *rest))
                    break
    known.update(NAMES[word] for word in words & NAME_WORDS if word not in taken)
    return known, taken


def parts_of(known: frozenset[str]) -> frozenset[str]:
    """The words of all spellings of well-known names of several words.

    >>> sorted(parts_of(frozenset({"nyc"})))
    ['city', 'new', 'nyc', 'york']
    """
    return frozenset().union(*(_PARTS[name] for name in known if name in _PARTS)) if known else frozenset()
