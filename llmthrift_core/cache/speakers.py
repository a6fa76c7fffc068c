"""The first person in German, Spanish and French, the languages beside English that the guard reads.

German and French name who speaks. Spanish says it by the verb's ending alone ("¿Cuánto debo?"), and typed German drops the word at the
beginning ("Hab noch Fragen"). In doubt a word counts as the first person: another user then pays for an answer of his own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from llmthrift_core.cache.near_misses.language import without_accents
from llmthrift_core.cache.near_misses.words import word_set

_GERMAN: Final = word_set(
    "ich mich mir mein meine meinem meinen meiner meines meins meinige meinerseits meinetwegen wir uns unser unsere unserem unseren "
    "unserer unseres unserm unsern unsrem unsren unsre unserige mirs michs ichs bin habe hab habs hätte brauch möcht krieg kriege "
    "bekomm komm werd hätt könnt wär würd find versteh schuld weiss weiß glaub denk frag meld zahl bestell kündig storniers sag "
    # a colloquial "ich" and "mir"
    "ick icke isch i mia mei meim"
)
# At the beginning of a sentence these have dropped their "ich".
_GERMAN_VERBS: Final = word_set(
    "habe hab hatte hätte bin war wäre brauche bräuchte brauch möchte wollte will würde kann konnte könnte krieg kriege bekomme bekam "
    "suche suchte warte wartete schulde zahle zahlte muss musste darf dürfte soll sollte finde fand verstehe weiß weiss kenne erhielt "
    "erhalte bestelle bestellte kündige kündigte storniere reklamiere benötige wünsche hoffe frage sehe nutze nutzte bezahle überwies "
    "kaufte kaufe mache machte komme kam gehe ging wohne ziehe zog verlor verliere vergaß vergass vermisse"
)
_GERMAN_SUBJECTS: Final = word_set("man der ein eine es er sie jemand jeder jede wer niemand")
_FRENCH: Final = word_set(
    "je j jai jen jy jsuis jpeux jveux jdois chui chuis chu m me moi mon ma mes mien mienne miens miennes nous notre nos nôtre nôtres "
    "nous-mêmes moi-même ai suis dois-je puis-je ai-je suis-je perso"
)
_FRENCH_VERBS: Final = word_set("besoin envie ai suis voudrais souhaite souhaiterais aimerais cherche attends veux peux dois")
_SPANISH: Final = word_set(
    "yo me mi mis mí mío mía míos mías mio mia mios mias conmigo nos nosotros nosotras nuestro nuestra nuestros nuestras he soy estoy "
    "voy doy sé fui tuve estuve hice hize puse pude quise dije vine traje supe anduve vi di hube cupe quería quisiera querría "
    "quiciera quisiéramos tenia tenía debía "
    # the past, as people type it
    "pedi recibi compre pague pagué llame cancele perdi olvide olvidé envie solicite contrate reserve transferi intente deje gaste "
    "mande firme active abri cambie vendi cobre cerre viaje"
)
# Words that end as a Spanish verb of the first person does ("debo"), and are none.
_NOUNS: Final = word_set(
    "cuánto cuanto cómo como no lo yo eso esto ello aquello uno otro cada todo mucho poco tanto cierto mismo propio solo sólo luego "
    "pronto pero sino bajo según dentro tiempo horario precio plazo pedido envío número numero tipo banco dinero año metro kilo litro "
    "gramo euro peso costo descuento reembolso reintegro paquete correo teléfono telefono vuelo viajero contrato crédito credito "
    "débito debito préstamo prestamo seguro servicio producto artículo articulo código codigo documento formulario proceso método "
    "metodo modo medio médico medico público publico único unico último ultimo próximo proximo primero tercero segundo quinto cuarto "
    "máximo maximo mínimo minimo básico basico gratuito barato caro nuevo viejo bueno malo alto largo corto rápido rapido lento "
    "abierto cerrado derecho trabajo domicilio estado usuario requisito impuesto saldo sueldo salario ingreso ahorro interés plástico "
    "plastico adulto niño nino hijo perro gato libro capítulo capitulo significado verbo adjetivo mundo río rio puerto aeropuerto "
    "museo castillo teatro parque centro edificio piso baño bano techo suelo fuego viento hierro oro plomo zumo vino queso pollo "
    "huevo horno ajo punto cero ciento veinticinco ocho cuatro cinco enero febrero marzo mayo junio julio agosto domingo sábado "
    "sabado invierno verano cuadrado cubo círculo circulo triángulo triangulo ángulo lado cálculo calculo resultado promedio "
    "porcentaje gobierno imperio siglo periodo período evento partido equipo torneo campeonato récord juego archivo directorio bucle "
    "comando texto tamaño tamano formato fondo sitio enlace chino griego ruso italiano castellano europeo americano mexicano "
    "argentino colombiano chileno peruano electrónico electronico físico fisico químico quimico histórico historico técnico tecnico "
    "antiguo moderno completo exacto correcto incorrecto mejorado permitido obligatorio necesario motivo riesgo ejemplo grupo cuerpo "
    "ojo brazo dedo hueso embarazo parto sueño minuto momento aniversario regalo cuento cuadro premio espacio universo átomo "
    "hidrógeno oxígeno carbono nitrógeno dióxido ácido hemisferio pacífico atlántico mediterráneo océano desierto territorio "
    "municipio barrio pueblo empleo empleado directivo ministro abogado testamento matrimonio divorcio extranjero visado consulado "
    "ayuntamiento juzgado depósito deposito cajero efectivo monedero comercio negocio mercado supermercado almuerzo desayuno "
    "kilómetro kilometro centímetro milímetro grado voltio vatio hercio"
)
# Before a noun, never before a verb.
_BEFORE_NOUNS: Final = word_set(
    "el la los las un una unos unas al del de en por para con sin sobre entre hasta desde este ese aquel esta esa cada otro otra gran "
    "primer tercer buen mal mejor peor su sus tu tus vuestro vuestra algún algun ningún ningun cualquier a e san santo"
)
_NO_VERBS_IN_MOS: Final = word_set(
    "mismos últimos ultimos próximos proximos mínimos minimos máximos maximos ánimos ritmos préstamos prestamos kilogramos gramos "
    "tramos ramos reclamos extremos supremos óptimos íntimos legítimos anónimos sinónimos átomos organismos mecanismos idiomos "
    "términos"
)
_NO_PAST: Final = word_set("qué que café té bebé allí aquí así sí mí ahí comité chalé puré esquí colibrí maniquí porqué josé rené través")
_ACCENTED: Final = re.compile(r"[áéó]|[íú](?!o$)")
# "dime", "enviarme", "muéstrenos"
_TO_ME: Final = re.compile(r"\w(?:me|[aeio]rnos|ndonos)(?:l[aeo]s?)?$|[áéíóú]\w*nos(?:l[aeo]s?)?$")
_NOT_TO_ME: Final = word_set(
    "informe uniforme conforme enorme firme inerme deforme términos órganos océanos gobiernos internos externos modernos inviernos "
    "cuadernos eternos infiernos paternos maternos alternos hornos turnos retornos contornos adornos entornos hermanos héroes"
)
_IN_ADO: Final = word_set(
    "activo pido decido olvido impido cuido mido despido nado traslado ando mando vendo entiendo pretendo recibo vivo aprendo "
    "defiendo extiendo"
)
_ACCENTED_VERBS: Final = word_set("reúno prohíbo rehúso")
# The past and the conditional are the same for "I" and "she": whose they are, a subject before them would tell.
_EITHER: Final = re.compile(r"\w(?:aba|ía)$")
_ASKING: Final = word_set("cuánto cuanto cuánta cuántos cuántas cómo como dónde donde cuándo cuando qué que no si ya y")
_NOT_EITHER: Final = word_set("todavía día días garantía compañía policía energía categoría batería había hacía sabía tía vía guía")
_SENTENCE: Final = re.compile(r"[.!?;:¿¡\n,]+")
_WORD: Final = re.compile(r"[^\W\d_]+")
# Somebody who is not named, and what is known of him.
_ASKER: Final = re.compile(
    r"\b(?:diese[nmrs]?|aktuelle[nmrs]?|eingeloggte[nmrs]?|angemeldete[nmrs]?)\s+(?:benutzer|nutzer|kunden?|konto|kontos|bestellung|vertrag|"
    r"vertrags|mitglieds?|anrufers?|auftrag|auftrags|sitzung)\b|\bhinterlegt|\bgespeicherte"
    r"|\b(?:este|esta|actual)\s+(?:usuario|usuaria|cliente|cuenta|pedido|sesión|sesion|miembro|contrato)\b|\b(?:usuario|cliente|cuenta)\s+actual\b"
    r"|\bregistrad[oa]\s+en\s+la\s+cuenta\b"
    r"|\b(?:cet|cette|ce)\s+(?:utilisateur|utilisatrice|client|cliente|compte|commande|session|membre|abonné|abonne|contrat)\b"
    r"|\b(?:utilisateur|client|compte)\s+actuel\b|\benregistrée?s?\s+(?:sur|dans)\s+le\s+compte\b",
    re.IGNORECASE,
)


def speaks_of_oneself(text: str, language: str) -> bool:
    """Whether a text in German ("de"), Spanish ("es") or French ("fr") may speak of who wrote it.

    >>> speaks_of_oneself("¿Cuánto debo?", "es"), speaks_of_oneself("Wann öffnet die Post?", "de")
    (True, False)
    """
    if _ASKER.search(text):
        return True
    sentences = [words for part in _SENTENCE.split(text.casefold()) if (words := _WORD.findall(part))]
    if language == "es":
        return any(_speaks_spanish(words) for words in sentences)
    if language == "de":
        return any(not _GERMAN.isdisjoint(words) or _drops_ich(words) for words in sentences)
    return any(not _FRENCH.isdisjoint(words) or words[0] in _FRENCH_VERBS for words in sentences)


def _drops_ich(words: Sequence[str]) -> bool:
    """Whether a sentence begins with a verb of the first person, and nobody else follows who could be meant."""
    return words[0] in _GERMAN_VERBS and (len(words) == 1 or words[1] not in _GERMAN_SUBJECTS)


def _speaks_spanish(words: Sequence[str]) -> bool:
    if not _SPANISH.isdisjoint(words):
        return True
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        if word.endswith("o") and _may_be_verb(word, before):
            return True
        if word.endswith("mos") and word not in _NO_VERBS_IN_MOS and before not in _BEFORE_NOUNS:
            return True
        if word[-1] in "éí" and len(word) > 2 and word not in _NO_PAST and before not in _BEFORE_NOUNS:
            return True
        if _EITHER.search(word) and (not before or before in _ASKING) and word not in _NOT_EITHER:
            return True
        if _TO_ME.search(word) and word not in _NOT_TO_ME:
            return True
    return False


def _may_be_verb(word: str, before: str) -> bool:
    """Whether a word that ends in "o" may be a verb of the first person."""
    if word in _NOUNS or before in _BEFORE_NOUNS or without_accents(word) in _NOUNS:
        return False
    if word.endswith(("ado", "ido", "ismo", "ario", "torio", "miento", "ndo", "ivo", "oso")):
        return word in _IN_ADO
    return _ACCENTED.search(word) is None or word in _ACCENTED_VERBS
