"""Everyday words that mean the same in a question, and those which carry little of what is asked."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from llmthrift_core.cache.near_misses.words import word_set

# Words of a row mean the same; a word may stand in several rows.
_ALIKE: Final = """
price cost fee charge rate pay much expensive; bill invoice; parcel package delivery order shipment item; deliver ship send dispatch; shop
store outlet; buy purchase order get; repair fix mend; broken damaged faulty defective cracked broke; cancel end terminate stop; cancel
call off; booking reservation; book reserve; flat apartment; car vehicle automobile; film movie; holiday vacation; mobile phone cellphone
smartphone; laptop computer pc; delete remove erase; change update modify edit alter amend adjust switch; begin start commence; finish end
complete; quick fast rapid speedy quickly; method way procedure process steps step manner approach; find locate see view check; get obtain
receive acquire; need require necessary must required; doctor physician gp; medicine medication drug prescription; photo picture image
photograph snap; job work position; salary wage pay earnings income; colleague coworker; kid child; baby infant newborn; toilet bathroom
restroom loo; bin trash garbage rubbish; gift present; error problem issue bug fault; fail decline reject refuse; explain describe define;
mean meaning stand definition; tip advice suggestion idea recommendation; recommend suggest advise; teach learn; study learn; contact
reach call phone speak talk; call phone ring; email mail; support help service assistance; username login; login sign log; signin sign
log; register sign enrol enroll subscribe join; close shut; open opening; opening hours open; limit maximum cap; smallest minimum least;
allowed permitted can ok okay allow permit may legal possible; author write writer; invent inventor; distance far; height tall high; size
big large; weight heavy weigh; length long; age old; population people inhabitant; depth deep; width wide; temperature hot warm cold;
speed fast; frequency often; duration long time; date day when; reason why cause; place where location; trip journey travel; flight fly
plane; plane aeroplane airplane aircraft; bike bicycle cycle; train rail; bus coach; tyre tire; licence license permit; jab vaccine
vaccination shot immunisation immunization; chemist pharmacy drugstore; petrol gas gasoline fuel; lift elevator; queue line; rent lease
hire; return bring; refund reimbursement money; sick ill; illness disease sickness; hurt ache pain sore; tired fatigue; clean wash; cook
prepare make; bake cook; dish meal food; dinner supper; quit leave resign; fire dismiss; hire recruit employ; firm company business
employer; city town; road street; near close nearby local closest nearest; swap exchange change; divide split; combine merge join; connect
link pair; display show screen monitor; turn switch; enable activate; enable allow; disable deactivate; mute silence; volume sound; create
make build set; setup set; website site page; web internet online; wifi wireless wi-fi internet; app application program software; folder
directory; picture painting; paint painter; compose composer; song track; sum total; amount number quantity; raise increase boost grow
turn; start create; enable turn set; set arrange create; book make; appointment booking;live population; hear sound; send return submit;
make submit; score rating rate; agency agent office; wedding marriage; electric ev; high tall; enter go come; buy book; look see watch
view; state say; evening night; weekday week; lower reduce decrease cut; avoid prevent stop; treat cure remedy; beautiful pretty; safe
secure; dangerous harmful unsafe risky; smart intelligent; funny amusing; good best great top ideal; bad poor; right correct proper; wrong
incorrect; new replacement another; lost missing; forget forgot remember; late delay overdue delayed; purchase transaction payment;
payment pay; account profile; code pin number; voucher coupon code promo; password passcode; statement bill; overseas abroad foreign
international; currency money; worth value; client customer; staff employee worker team; boss manager; elderly senior; adult grownup; rule
regulation requirement law; document paper paperwork documentation form; claim apply request; apply application applicant; request ask
apply demand; question query; answer reply response; happen occur; house home property; garden yard; sofa couch; autumn fall; trousers
pants; trainers sneakers; sweet candy; biscuit cookie; chips fries; crisps chips; tap faucet; mould mold; colour color; centre center;
favourite favorite; organisation organization; programme program; tax levy; insurance cover policy; compensation damages; stay visit;
guest visitor; spouse partner; kill destroy; pool swimming; wear clothing clothes; leak drip; noise sound; bark noise; rain wet; warm
heat; heating heat; thaw defrost; odd strange weird; purge clear; ring call; ticket fare; deadline due; fastest quickest; biggest largest;
tiny small; tax duty; university college; maths math; exam test; pupil student; lecture class; lesson class course; licence driving; route
way road path; wall partition; vote voting ballot poll; compare difference versus vs; own have possess; drain run; hurry fast; rise raise
increase; skill ability; benefit advantage pro; drawback disadvantage con downside; valid expire valid expiry; ticket fine penalty; cancel
withdraw; hold pause suspend; discount cheap reduction; year annual annually yearly; data information; human person people; conversation
chat; interval frequency often; connection internet; abroad country; send transfer; spam junk; rid stop remove; shipping delivery ship;
arrive come deliver; parking park; rule play; copy resend; recover restore; share send show; temperature point fever; extra additional
further another; terminate close cancel end delete; revert undo reverse; max maximum; min minimum; limit restriction; merchant business;
give provide offer; verify validate check confirm; accept take support; fund money cash; appear show; area location place region; actual
real genuine; auto automatic; want prefer; disable turn switch; enable switch; kg kilogram kilo;
km kilometer kilometre; cm centimeter centimetre; ml milliliter millilitre; kb kilobyte; mb megabyte; gb gigabyte; tb terabyte; grey gray;
jewellery jewelry; pyjamas pajamas; aluminium aluminum; kerb curb; storey story; plough plow; sceptical skeptical; mum mom mother;
dad father; doc document; pic picture
"""
# Words without which a question asks for much the same.
LIGHT: Final = word_set(
    "calculate compute way ways thing things stuff tip tips advice idea ideas question questions info information detail details please "
    "kindly possible able allowed allow permitted necessary need needs needed require required want wants wanted like would wish hope "
    "try trying tried know find out get getting got make making made do doing go going give giving take taking put use using used work "
    "works working happen happens happening mean means meaning tell show explain describe define say called name named kind kinds type "
    "types sort lot lots bit much many long far old often big high tall deep wide fast soon exactly currently right actually really "
    "simply easily best good great better right proper properly correctly correct ideal procedure process method steps step place some "
    "something reason reasons cause causes time times day come comes came see check look looking help ask asking wonder wondering "
    "suppose start begin set up own have having has keep keeps try cost costs price prices charge charges fee fees expensive pay paid "
    "amount number normal usual usually generally typical typically always ever anyway here there now today quick quickly quickest "
    "fastest hello hi hey hiya morning evening afternoon greetings thanks thank cheers mate uh um er erm well so like sorry bother "
    "silly stupid advance basically just quickly urgent asap guys folks team support dear certain particular specific whole entire "
    "total feature option options version thing person people someone new current existing possible recommended recommend suggest "
    "suggestion "
)

# Said around a question, or in it, without a change of what is asked.
COURTEOUS: Final = word_set(
    "hello hi hey hiya morning evening afternoon day greetings thanks thank cheers mate uh um er erm well so like sorry bother silly "
    "stupid dumb quick question advance basically just quickly urgent urgently asap guys folks team dear really actually exactly "
    "currently now please kindly tell me know wondering help simply ever way best proper properly correctly possible possibly anyway "
    "there today file code page number name button website site app account thing things stuff lol btw ok okay right even again still "
    "considered regarded deemed already own whole entire new exact actual specific usual normal normally usually typically generally "
    "good one ones "
)


def _alike() -> dict[str, frozenset[int]]:
    rows: dict[str, set[int]] = defaultdict(set)
    for row, words in enumerate(_ALIKE.split(";")):
        for word in words.split():
            rows[word].add(row)
    return {word: frozenset(found) for word, found in rows.items()}


ALIKE: Final = _alike()
