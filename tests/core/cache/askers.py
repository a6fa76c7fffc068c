"""Questions that people ask about themselves, and questions to which everybody gets the same answer, in the languages that are read."""

from __future__ import annotations

from itertools import product
from typing import Final


def _made(templates: str, things: str) -> list[str]:
    """Every template with every thing in the place of its "_"."""
    lines, filled = [line.strip() for line in templates.strip().splitlines()], [each.strip() for each in things.split("|")]
    made = [line.replace("_", thing) for line, thing in product(lines, filled)]
    return list(dict.fromkeys(made))


_ENGLISH: Final = _made(
    """
    where is my _
    whats my _ status
    wheres my _ at
    When will our _ arrive?
    Has the _ been sent to me yet?
    Can u check my _ pls
    why havent i got the _ yet
    i never got the _
    Show me the last _
    ive lost the _, what now?
    im still waiting for the _
    Who signed for my _?
    Do I need to pay for the _?
    Let us know about the _
    Tell us when the _ ships.
    gimme the _
    lemme see the _
    How much do we owe for the _?
    id like to cancel the _
    Is the _ mine?
    u owe me a _
    Could you send the _ to this customer again?
    """,
    "parcel|invoice|refund|contract|new card|ticket|order",
)
_GERMAN: Final = _made(
    """
    Wo ist mein _?
    Wo bleibt mein _
    wann krieg ich den _
    Wann bekomme ich den _?
    Warum habe ich den _ noch nicht erhalten?
    Zeig mir den letzten _
    Ich hab den _ verloren, was jetzt?
    Kannst du meinen _ prüfen?
    Wie viel kostet mich der _?
    Was passiert mit unserem _?
    Wurde uns der _ schon geschickt?
    Brauche den _ bis morgen
    Hab den _ nie bekommen
    Kann ich den _ noch ändern?
    Was schulde ich noch für den _?
    wieso hab ich zwei mal für den _ bezahlt
    Bin ich für den _ berechtigt?
    Möchte den _ kündigen
    Schick mir bitte den _
    Wann wird der _ bei mir ankommen?
    Haben wir den _ schon bezahlt?
    ist der _ für mich kostenlos
    Welcher _ gehört zu diesem Konto?
    """,
    "Vertrag|Antrag|Gutschein|Auftrag|Ausweis|Termin|Betrag",
)
_SPANISH: Final = _made(
    """
    ¿Dónde está mi _?
    donde esta mi _
    ¿Cuánto debo por el _?
    ¿Cuándo recibo el _?
    ¿Cuándo recibiré el _?
    ¿Cómo cancelo el _?
    Muéstrame el último _
    muestrame el _
    ¿Por qué no he recibido el _?
    No encuentro el _
    perdí el _, ¿qué hago?
    ¿Tengo derecho al _?
    ¿Puedo cambiar el _?
    quiero cancelar el _
    ¿Cuánto pagué por el _?
    ¿Nos han enviado ya el _?
    ¿Cuándo llega nuestro _?
    ¿Cuánto debemos por el _?
    Envíenme el _ por favor
    ¿Puede enviarme el _?
    ¿Necesito pagar el _?
    ¿Estoy obligado a pagar el _?
    Todavía no me llega el _
    ¿Dónde recojo el _?
    ¿Ya pedimos el _?
    """,
    "paquete|pedido|reembolso|contrato|billete|recibo|documento",
)
_FRENCH: Final = _made(
    """
    Où est mon _ ?
    où en est mon _
    Combien dois-je pour le _ ?
    combien je dois pour le _
    Quand vais-je recevoir le _ ?
    Quand est-ce que j'aurai le _ ?
    j'ai perdu le _, que faire ?
    jai pas reçu le _
    Pourquoi n'ai-je pas encore reçu le _ ?
    Montre-moi le dernier _
    Pouvez-vous m'envoyer le _ ?
    Ai-je droit au _ ?
    Je voudrais annuler le _
    Peux-tu vérifier notre _ ?
    Est-ce que le _ nous a été envoyé ?
    Avons-nous déjà payé le _ ?
    Dois-je payer le _ ?
    Puis-je changer le _ ?
    où sont mes papiers pour le _
    Le _ ne m'est pas parvenu
    je trouve pas le _
    Suis-je obligé de payer le _ ?
    chui toujours en attente du _
    Quel _ est lié à ce compte ?
    """,
    "colis|billet|remboursement|contrat|dossier|ticket|paiement",
)
_FOR_ALL: Final[dict[str, list[str]]] = {
    "English": _made(
        """
        What is a _?
        How long is a _ valid?
        How much does a _ cost?
        Where can people buy a _?
        Who can ask for a _?
        When was the first _ issued?
        What is the difference between a _ and a visa?
        Is a _ required for children?
        Which documents does a _ need?
        How do you renew a _ online?
        Why was the _ invented?
        Which colour does the _ have in France?
        What happens when a _ expires?
        What should be written on a _?
        Can a _ be sold to somebody else?
        Does the _ work on Sundays?
        How many pages are in a _?
        Explain the _ in two sentences
        Is the _ cheaper for students?
        Define _
        Translate "_" to French
        What are the opening hours of the _ office?
        """,
        "passport|season ticket|parking permit|credit card|gift voucher|library card|driving licence",
    ),
    "German": _made(
        """
        Was ist ein _?
        Wie lange ist ein _ gültig?
        Wie viel kostet der _?
        Wo kann man einen _ kaufen?
        Wer darf einen _ beantragen?
        Wann wird der _ teurer?
        Was ist der Unterschied zwischen einem _ und einem Visum?
        Ist der _ für Kinder nötig?
        Wann öffnet das Büro für den _ am Samstag?
        Wie wird ein _ verlängert?
        Gibt es den _ auch im Internet?
        Warum ist der _ so teuer?
        Welche Farbe hat der _ in Frankreich?
        Was passiert, wenn der _ nicht mehr gilt?
        Muss man den _ immer dabei haben?
        Kann der _ verkauft werden?
        Wie viele Seiten hat der _?
        Ist der _ für Studenten billiger?
        Wo gibt es den _ am Wochenende?
        Wann ist der _ wieder da?
        Was steht auf dem _?
        Wie oft wird der _ geändert?
        """,
        "Ausweis|Reisepass|Parkschein|Gutschein|Führerschein|Fahrplan|Tarif",
    ),
    "Spanish": _made(
        """
        ¿Qué es un _?
        ¿Cuánto cuesta el _?
        ¿Cuánto tiempo es válido el _?
        ¿Dónde se compra el _?
        ¿Quién puede pedir el _?
        ¿Cuándo abre la oficina del _?
        ¿Cuál es la diferencia entre el _ y el visado?
        ¿Es obligatorio el _ para los niños?
        ¿Cómo se renueva el _?
        ¿Por qué es tan caro el _?
        ¿Qué color tiene el _ en Francia?
        ¿Qué pasa cuando el _ ya no es válido?
        ¿Hay que llevar siempre el _?
        ¿Se puede vender el _?
        ¿Cuántas páginas tiene el _?
        ¿Es más barato el _ para estudiantes?
        ¿Dónde está la oficina del _?
        ¿Qué significa la palabra _?
        ¿Cuándo sube el precio del _?
        ¿Quién paga el _?
        ¿Es gratis el _ los domingos?
        ¿Cuánto vale el _ al mes?
        """,
        "pasaporte|billete|carné|permiso|certificado|abono|tren",
    ),
    "French": _made(
        """
        Qu'est-ce qu'un _ ?
        Combien coûte le _ ?
        Combien de temps le _ est-il valable ?
        Où peut-on acheter le _ ?
        Qui peut demander le _ ?
        Quand ouvre le bureau pour le _ ?
        Quelle est la différence entre le _ et le visa ?
        Le _ est-il obligatoire pour les enfants ?
        Comment renouveler le _ ?
        Pourquoi le _ est-il si cher ?
        Quelle est la couleur du _ en Espagne ?
        Que se passe-t-il quand le _ n'est plus valable ?
        Faut-il toujours avoir le _ ?
        Est-ce que le _ est gratuit le dimanche ?
        Combien de pages y a-t-il dans le _ ?
        Le _ est-il moins cher pour les étudiants ?
        Quel est le prix du _ par mois ?
        Que veut dire le mot _ ?
        Où se trouve le bureau du _ ?
        Qui paie le _ ?
        Peut-on vendre le _ ?
        Quand est-ce que le prix du _ change ?
        """,
        "passeport|billet|permis|certificat|ticket|train|visa",
    ),
}

ABOUT_ASKERS: Final = {"English": _ENGLISH, "German": _GERMAN, "Spanish": _SPANISH, "French": _FRENCH}
FOR_EVERYBODY: Final = _FOR_ALL
