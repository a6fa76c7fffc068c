"""Detection of English text, judged by its script, its accents and the function words in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from llmthrift_core.cache.near_misses.words import word_set

_GERMAN: Final = """
two zwei; three drei; four vier; five funf fuenf; six sechs; seven sieben; eight acht; nine neun; ten zehn; eleven elf; twelve zwolf
zwoelf; thirteen dreizehn; fourteen vierzehn; fifteen funfzehn fuenfzehn; sixteen sechzehn; seventeen siebzehn; eighteen achtzehn;
nineteen neunzehn; twenty zwanzig; thirty dreissig dreißig; forty vierzig; fifty funfzig fuenfzig; hundred hundert; thousand tausend;
million millionen; dozen dutzend; half halb halbe halben halber; first erste ersten erster erstes; second zweite zweiten zweiter; third
dritte dritten; monday montag montags; tuesday dienstag dienstags; wednesday mittwoch mittwochs; thursday donnerstag donnerstags; friday
freitag freitags; saturday samstag samstags sonnabend; sunday sonntag sonntags; january januar janner; february februar feber; march
marz maerz; april; may mai; june juni; july juli; august; september; october oktober; november; december dezember; today heute; tomorrow
morgen; yesterday gestern; evening abend abends; noon mittag mittags; midnight mitternacht; christmas weihnachten; easter ostern;
seconds sekunde sekunden; minutes minute minuten; hours stunde stunden; days tag tage tagen; weeks woche wochen; months monat monate
monaten; years jahr jahre jahren; kg kilo kilogramm; gram gramm; liter liter litern; meter meter metern; km kilometer kilometern; euro
euros; not nicht kein keine keinen keinem keiner keines; never nie niemals; without ohne; nothing nichts; nobody niemand; except ausser
ausgenommen; before vor bevor; after nachdem; since seit; until bis; all alle allen aller jede jeder jedes jeden; some einige manche;
most meisten; few wenige; always immer; often oft haufig; rarely selten; sometimes manchmal; more mehr; less weniger; with mit; and und;
or oder; from von vom aus; to nach zu zum zur; than als; when wann wie_viel_uhr; where wo wohin; who wer wem wen; why warum wieso
weshalb; how wie; much_cost wie_viel wieviel; open offnen oeffnen offnet offen geoffnet auf; close schliessen schliesst geschlossen
zu_machen; buy kaufen kaufe kauft gekauft; sell verkaufen verkaufe verkauft; on einschalten aktivieren anschalten; off ausschalten
deaktivieren abschalten; rise steigen steigt gestiegen erhohen; fall fallen fallt gefallen senken sinken gesunken; cheap billig gunstig;
expensive teuer; big gross grosse; small klein kleine; good gut gute; bad schlecht; begin beginnen beginnt anfangen; end enden endet
kundigen kundige beenden; allowed erlaubt darf darfst durfen durft; forbidden verboten; hot heiss warm; cold kalt; old alt; new neu neue
neuen neues; left links; right rechts; win gewinnen gewonnen; lose verlieren verloren; add hinzufugen; remove entfernen; delete loschen
losche geloscht; create erstellen erstelle anlegen; send senden schicken sende; receive erhalten empfangen bekommen; change andern
andere geandert wechseln; need brauche brauchen braucht benotige benotigen notig notwendig muss musst mussen erforderlich; price preis
preise kosten kostet gebuhr; password passwort kennwort; account konto benutzerkonto; order bestellung; invoice rechnung; can kann
kannst konnen konnte; howlong wie_lange; ~ wie_hoch; free kostenlos kostenfrei gratis umsonst; package paket pakete sendung packchen;
subscription abo abos abonnement; refund erstattung ruckerstattung; mistake fehler; monthly monatlich; yearly jahrlich; student
studenten studierende; discount rabatt rabatte ermassigung nachlass; delivery lieferung versand zustellung; why woran_liegt_es weswegen;
receipt beleg quittung bon; broken kaputt defekt; available verfugbar erhaltlich; begin startet starten; end stoppen stoppe; responsible
zustandig verantwortlich; support unterstutzt unterstutzen; long lange lang dauert dauer; inside innerhalb drinnen; outside ausserhalb
draussen; customer kunde kunden; company firma unternehmen betrieb; job stelle arbeitsplatz; doctor arzt arztin; car auto wagen
fahrzeug; phone telefon handy mobiltelefon; question frage fragen; answer antwort antworten; help hilfe; problem probleme; message
nachricht nachrichten; address adresse anschrift; appointment termin termine; contract vertrag; bill abrechnung
- der die das den dem des ein eine einen einem einer eines ich du er sie es wir ihr mich mir dich dir uns euch ihnen ihm ihn mein meine
meinen meinem meiner meines dein deine deinen ihr ihre ihren unser unsere sein seine ist sind bin bist wird werden wurde habe hat haben
hast hatte mochte will wollen soll sollen sollte gibt gibts erklare erklaren sag sagen zeig zeige zeigen nenne betragt bieten bietet
liegt heisst bedeutet versteht es man in im am an um fur bei auf uber unter was welche welcher welches welchen so da dass ob denn doch
mal bitte danke hallo hi guten finde finden kriege mache machen geht gehen lasse lassen viel uhr dort hier noch schon auch nur sich
durch zwischen gegen moglich wenn
"""
_SPANISH: Final = """
two dos; three tres; four cuatro; five cinco; six seis; seven siete; eight ocho; nine nueve; ten diez; eleven once; twelve doce;
thirteen trece; fourteen catorce; fifteen quince; sixteen dieciseis; seventeen diecisiete; eighteen dieciocho; nineteen diecinueve;
twenty veinte; thirty treinta; forty cuarenta; fifty cincuenta; sixty sesenta; hundred cien ciento; thousand mil; million millon
millones; dozen docena; half medio media; first primero primera primer; second segundo segunda; third tercero tercera; monday lunes;
tuesday martes; wednesday miercoles; thursday jueves; friday viernes; saturday sabado sabados; sunday domingo domingos; january enero;
february febrero; march marzo; april abril; may mayo; june junio; july julio; august agosto; september septiembre setiembre; october
octubre; november noviembre; december diciembre; today hoy; tomorrow manana; yesterday ayer; afternoon tarde; night noche; noon
mediodia; midnight medianoche; christmas navidad; seconds segundos; minutes minuto minutos; hours horas; days dia dias; weeks semana
semanas; months mes meses; years ano anos; kg kilo kilos; gram gramo gramos; liter litro litros; meter metro metros; km kilometro
kilometros; euro euros; not no ni tampoco; never nunca jamas; without sin; nothing nada; nobody nadie ningun ninguna ninguno; except
excepto salvo; before antes; after despues tras; since desde; until hasta; all todo todos toda todas cada; some algunos algunas; most
mayoria; few pocos pocas; always siempre; often frecuentemente; rarely raramente; sometimes veces; more mas; less menos; with con; and y
e; or o u; when cuando a_que_hora que_hora; where donde adonde; who quien quienes; why por_que; how como; much_cost cuanto cuanta
cuantos cuantas; open abrir abre abro abierto abierta abren; close cerrar cierra cierro cerrado cerrada cierran; buy comprar compro;
sell vender vendo; on encender activar activo; off apagar desactivar; rise subir sube aumentar; fall bajar baja reducir; cheap barato
barata; expensive caro cara; big grande; small pequeno pequena; good bueno buena bien; bad malo mala mal; better mejor; worse peor;
begin empezar empieza comenzar; end terminar termina cancelar cancelo; allowed permitido permitida; forbidden prohibido prohibida; hot
caliente calor; cold frio fria; old viejo vieja; new nuevo nueva; left izquierda; right derecha; win ganar ganado; lose perder perdido;
add anadir agregar; remove quitar eliminar; delete borrar borro; create crear creo; send enviar envio mandar; receive recibir recibo;
change cambiar cambio; need necesito necesita necesitar debo debe debemos deben tengo_que tiene_que tenemos_que tienen_que hay_que
hace_falta necesario necesaria obligatorio obligatoria; legal; illegal ilegal; possible posible; impossible imposible; ~ es_posible;
price precio precios cuesta cuestan costar tarifa; free gratis gratuito gratuita; method metodo metodos formas modos medios; howlong
cuanto_tiempo_tarda cuanto_tiempo_tardan cuanto_tiempo cuanto_tarda cuanto_tardan; can puedo puede pueden podemos poder; package paquete
paquetes envio envios; refund reembolso devolucion; receipt recibo justificante; subscription suscripcion; mistake error errores fallo;
monthly mensual; yearly anual; discount descuento descuentos rebaja; student estudiante estudiantes; delivery entrega; invoice factura
facturas; begin iniciar inicio; end detener detengo; responsible responsable encarga encargado; available disponible disponibles; inside
dentro; outside fuera; customer cliente clientes; company empresa empresas; job empleo trabajo; doctor medico medica; car coche carro
auto; phone telefono movil celular; question pregunta preguntas; answer respuesta respuestas; help ayuda; problem problema problemas;
message mensaje mensajes; address direccion domicilio; appointment cita citas; contract contrato; delete elimino elimina; broken roto
rota averiado; password contrasena clave; account cuenta; order pedido
- el la los las un una unos unas de del al a lo le les se me te nos mi mis tu tus su sus nuestro que cual cuales es son esta estan estoy
ser estar hay he ha han tengo tiene tienen tener quiero quiere quisiera hace hacer hago para explica explicame explicar di dime decir
muestra muestrame significa ofrecen ofrece existe fue fueron sido por en este ese esa eso esto yo tu usted ustedes ellos favor hola
gracias buenos buenas si ya aqui alli muy tan sobre entre ir voy va hora precio encontrar encuentro manera forma
"""
_FRENCH: Final = """
two deux; three trois; four quatre; five cinq; six; seven sept; eight huit; nine neuf; ten dix; eleven onze; twelve douze; thirteen
treize; fourteen quatorze; fifteen quinze; sixteen seize; twenty vingt; thirty trente; forty quarante; fifty cinquante; sixty soixante;
hundred cent cents; thousand mille; million millions; dozen douzaine; half demi demie moitie; first premier premiere; second deuxieme
seconde; third troisieme; monday lundi; tuesday mardi; wednesday mercredi; thursday jeudi; friday vendredi; saturday samedi; sunday
dimanche; january janvier; february fevrier; march mars; april avril; may mai; june juin; july juillet; august aout; september
septembre; october octobre; november novembre; december decembre; today aujourd'hui aujourdhui; tomorrow demain; yesterday hier; morning
matin; afternoon apres_midi; evening soir; noon midi; midnight minuit; christmas noel; seconds secondes; minutes minute; hours heures;
days jour jours; weeks semaine semaines; months mois; years an ans annee annees; kg kilo kilos; gram gramme grammes; liter litre litres;
meter metre metres; km kilometre kilometres; euro euros; not pas non; never jamais; without sans; nothing rien; nobody personne aucun
aucune; neither ni; except sauf; before avant; after apres; since depuis; until jusqu jusque; all tous toutes tout toute chaque; some
certains certaines quelques; most plupart; few peu; always toujours; often souvent; rarely rarement; sometimes parfois; more plus; less
moins; with avec; and et; or ou; when quand quelle_heure a_quelle_heure; where ou_est ou_se ou_puis ou_trouver; who qui; why pourquoi;
how comment; much_cost combien; open ouvrir ouvre ouvert ouverte ouvrent; close fermer ferme fermee ferment; buy acheter achete; sell
vendre vends; on allumer activer; off eteindre desactiver; rise augmenter monter; fall baisser diminuer; cheap pas_cher; expensive cher
chere; big grand grande; small petit petite; good bon bonne bien; bad mauvais mauvaise mal; better mieux meilleur; worse pire; begin
commencer commence; end terminer finir annuler annule resilier; allowed permis autorise; forbidden interdit interdite; hot chaud chaude;
cold froid froide; old vieux vieille; new nouveau nouvelle; left gauche; right droite; win gagner gagne; lose perdre perdu; add ajouter
ajoute; remove enlever retirer; delete supprimer supprime effacer; create creer cree; send envoyer envoie; receive recevoir recois;
change changer modifier change; need besoin dois doit devons devez faut il_faut necessaire obligatoire; legal; illegal; possible;
impossible; ~ est_il_possible; can peux peut puis pouvez pouvons pourrais; howlong combien_de_temps delai; free gratuit gratuite
gratuitement; method moyens moyen modes mode methode methodes facons; package colis paquet paquets; refund remboursement; receipt recu
justificatif; subscription abonnement; mistake erreur erreurs; monthly mensuel mensuelle; yearly annuel annuelle; discount remise
reduction rabais; student etudiant etudiants etudiante; delivery livraison; begin demarrer demarre; end arreter arrete; responsible
responsable occupe; available disponible disponibles; inside dedans; outside hors dehors; customer client clients; company entreprise
societe; job emploi travail; doctor medecin docteur; car voiture auto; phone telephone portable; question questions; answer reponse
reponses; help aide; problem probleme problemes; message messages; address adresse; appointment rendez-vous; contract contrat; broken
casse cassee; fee frais tarif montant; contain contient contiennent contenir; price prix coute coutent couter cout; account compte;
order commande; password mot_de_passe; invoice facture
- le la les un une des du de d l au aux a je tu il elle on nous vous ils elles me te se m t s mon ma mes ton ta tes son sa ses notre nos
votre vos leur leurs ce cet cette ces c que qu quoi quel quelle quels quelles est es sont suis etre etait ete y en ai as ont avez avons
avoir veux prend veut voudrais voulez faire explique expliquez expliquer dis dites dire montre montrez montrer signifie proposez propose
offrez offre existe s'eleve elevent fais fait dans sur pour par chez si ne n est_ce_que qu'est-ce il_y_a bonjour salut merci svp plait
trouver trouve aller vais va comme aussi ici la-bas moyen maniere facon
"""
OTHER: Final = "other"
# Beginnings of German verbs which go to the end of a sentence ("Wie setze ich es zurück?"), and how they are marked there.
_SEPARABLE: Final = word_set("ab an auf aus ein los mit nach um vor weg weiter zu zuruck zusammen")
DETACHED: Final = "_"
_UNSAID: Final = "~"  # what a phrase of a table says that says nothing
# Signs and letters that tell a language of these three from the others, and how many words they count for.
_SIGNS: Final = (
    ("es", re.compile("[¿¡ñ]"), 2), ("de", re.compile("[äöüß]"), 1),
    ("fr", re.compile(r"[œçêèûîâ]|\b(?:qu|[dlcjnsm])['’](?=\w)|-t-|\best-ce\b"), 1),
)  # fmt: skip
_TIMES: Final = word_set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october "
    "november december noon midnight christmas easter two three four five six seven eight nine ten eleven twelve"
)
_GERMAN_ARTICLES: Final = frozenset({"dem", "der", "den"})
_ACCENTS: Final = re.compile("[\u0300-\u036f]")
_APOSTROPHE: Final = re.compile(r"[a-z]{1,2}'(?=[a-z])|(?<=[a-z])-(?=(?:je|tu|il|elle|on|nous|vous|ils|elles|ce|t|y)\b)", re.IGNORECASE)


class _Language(NamedTuple):
    words: dict[str, str]
    longer: dict[str, tuple[tuple[tuple[str, ...], str], ...]]
    silent: frozenset[str]
    telling: frozenset[str]


def _language(table: str) -> _Language:
    rows, _, silent = table.partition("\n- ")
    words: dict[str, str] = {}
    longer: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for row in rows.split(";"):
        english, *spellings = row.split()
        english = english if english != "much_cost" else "howmuch"
        for spelling in spellings or [english]:
            first, *rest = spelling.split("_")
            if rest:
                longer.setdefault(first, []).append((tuple(rest), english))
            else:
                words.setdefault(first, english)
    nothing = frozenset(silent.split())
    return _Language(words, {first: tuple(found) for first, found in longer.items()}, nothing, nothing | words.keys())


_LANGUAGES: Final = {"de": _language(_GERMAN), "es": _language(_SPANISH), "fr": _language(_FRENCH)}
_OTHERS: Final = word_set(
    "het een niet wat hoe ik mijn kan zijn voor waar bij nao voce meu minha posso quanto onde che non il mio sono perche quale dove gli "
    "della nel och ar hur jag inte og ikke hvordan jeg jest nie jak czy moje bir nasil icin ve nedir yang dan apa bagaimana untuk saya "
    "kya hai kaise mera nahi uma um com isso como_faco di e posso "
)


def without_accents(word: str) -> str:
    """A word in the letters of the alphabet, where it has any."""
    if word.isascii():
        return word
    form: Literal["NFKD", "NFD"] = "NFKD" if word.isalpha() else "NFD"  # of letters only: two to the tenth is not 210
    return _ACCENTS.sub("", unicodedata.normalize(form, word.replace("ß", "ss"))) or word


def language_of(tokens: Sequence[str], text: str) -> str:
    """ "de", "es" or "fr" for a text in that language whose tokens have no accents; "other" for all others."""
    counts = {name: sum(token in language.telling for token in tokens) for name, language in _LANGUAGES.items()}
    lowered = text.casefold() if not text.isascii() else text.lower()
    for name, sign, weight in _SIGNS:
        if counts[name] and sign.search(lowered):
            counts[name] += weight
    best = max(counts, key=counts.__getitem__)
    strange = sum(token in _OTHERS and token not in _LANGUAGES[best].telling for token in tokens)
    ahead = counts[best] - max(count for name, count in counts.items() if name != best)
    return best if counts[best] * 4 >= len(tokens) and ahead >= 1 and not strange else OTHER


def is_told(tokens: Sequence[str], name: str) -> bool:
    """Whether half of the tokens, which have no accents, are known words of a language, so that it is that one and no neighbour of it."""
    return 2 * sum(token in _LANGUAGES[name].telling for token in tokens) >= len(tokens)


def translated(tokens: Sequence[str], name: str) -> list[str]:
    """The tokens with words that decide a question in English, and without those that carry nothing."""
    language = _LANGUAGES[name]
    result: list[str] = []
    place = 0
    if name == "de" and len(tokens) > 2 and tokens[-1] in _SEPARABLE:
        tokens, detached = tokens[:-1], [tokens[-1] + DETACHED]
    else:
        detached = []
    while place < len(tokens):
        word = tokens[place]
        taken = 1
        for rest, english in language.longer.get(word, ()):
            if tuple(tokens[place + 1 : place + 1 + len(rest)]) == rest:
                if english != _UNSAID:
                    result.append(english)
                taken += len(rest)
                break
        else:
            if name == "de" and word == "nach" and place + 1 < len(tokens) and _is_after(tokens[place + 1]):
                result.append("after")
            elif word in language.words:
                result.append(language.words[word])
            elif word not in language.silent:
                result.append(word)
        place += taken
    return result + detached


def in_order(tokens: Sequence[str], name: str) -> list[str]:
    """The tokens with words that decide a question in English, and with those that carry nothing."""
    language = _LANGUAGES[name]
    return [word if word in language.silent else language.words.get(word, word) for word in tokens]


def _is_after(word: str) -> bool:
    """Whether "nach" before a word says when, not where to."""
    return word in _GERMAN_ARTICLES or word[0].isdigit() or _LANGUAGES["de"].words.get(word) in _TIMES


def split_elisions(text: str) -> str:
    """French words without the letters that lean on them: "qu'est", "puis-je", "d'un"."""
    return _APOSTROPHE.sub(" ", text)


# Words of these languages that are also English, or are no sign of either.
_ENGLISH_TOO: Final = word_set(
    "allen april august cent change commence comment cree domingo fallen favor grand gross illegal impossible kilometer kilometre klein "
    "legal links liter litre mars mayo meter metre metro midi minute noel november oder once para petite plus possible pour premier "
    "premiere seine seize sept september warm will minutes hours seconds cents euro euros meters santiago angeles madrid "
)
TRANSLATIONS: Final = frozenset(english for language in _LANGUAGES.values() for english in language.words.values())
TELLING: Final = frozenset(
    word for language in _LANGUAGES.values() for word in language.telling if len(word) > 3 and word not in _ENGLISH_TOO and "_" not in word
)
ENGLISH: Final = word_set(
    "the a an and of to is are was were do does did can could would should will my your his her its our their this that these those "
    "what which who when where why how i you he she it we they with for from not have has had there at by on if than or but be"
)
_ENGLISH_ALONE: Final = ENGLISH - {"was", "on", "an", "a", "has", "or", "me", "he"}  # the others are words of its neighbours, too
# Words which no English text has by chance.
DISTINCT: Final = word_set(
    # German, Dutch
    "der das und nicht ist ein eine einen wie ich mein meine kann für wird sind wo warum auf zu mit sich het een niet wat hoe ik mijn "
    "kan zijn voor waar bij "
    # French
    "est pas les une quel quelle comment pourquoi je vous dans avec sur où qui mon mes ma puis cette c'est "
    # Spanish, Portuguese, Italian
    "que por para cómo como qué cuál dónde una mi puedo está es los las con pero não você meu minha posso quanto onde che non il mio "
    "sono perché perche quale dove gli della nel "
    # Nordic, Polish, Turkish, Indonesian, romanised Hindi
    "och är hur jag inte og ikke hvordan jeg jest nie jak się czy moje bir nasıl için ve nedir yang dan apa bagaimana untuk saya "
    "kya hai kaise mera nahi"
)
# Words which English also has in names ("Tour de France", "Los Angeles").
SHARED: Final = word_set("de la le el del des du di da van von los las den dem die en et al y se per im")
# "Los Angeles" and "Las Vegas" are English.
_PLACES: Final = frozenset({"angeles", "vegas"})
BORROWED: Final = word_set("café cafés résumé résumés naïve cliché fiancé fiancée façade jalapeño piñata crème brûlée déjà décor entrée")
_TOLD: Final = DISTINCT | TELLING
FOREIGN: Final = _TOLD | SHARED
_BEYOND_LATIN: Final = re.compile(r"[^\W\d_\u0000-\u024f\u1e00-\u1eff]")
_INVERTED: Final = re.compile("[¿¡]")
_LETTER: Final = re.compile(r"[^\W\d_]")


def is_foreign(text: str, words: frozenset[str]) -> bool:
    """Whether a text is probably not English, so that lists of English words say nothing about it."""
    plain = text.isascii()
    if not plain and is_beyond_latin(text):
        return True
    english = len(words & ENGLISH)
    distinct = len(words & _TOLD)
    strange = distinct + len(words & SHARED)
    if not words.isdisjoint(_PLACES):
        strange, distinct = strange - 1, distinct - 1
    if strange > english and (strange > 1 or distinct):
        return True
    if plain:
        return False
    if _INVERTED.search(text):
        return True
    accented = [word for word in words if not word.isascii() and word.isalpha() and word not in BORROWED]
    if english:
        return bool(strange) and len(accented) > len(words & _ENGLISH_ALONE)
    return len(accented) > 1 or (bool(accented) and (bool(strange) or len(words) <= 2))


def is_beyond_latin(text: str) -> bool:
    """Whether much of a text is in letters that English, German, Spanish and French do not have."""
    beyond = len(_BEYOND_LATIN.findall(text))
    return beyond > 0 and beyond * 4 >= len(_LETTER.findall(text))
