"""The shop's help pages, which its application sends along with each question of a customer.

They are as two exports of a shop's pages put together are: with spare white space, and with a page that both hold. A support prompt with
all of them has fewer than the 1,024 tokens from which OpenAI caches a prompt, so that whoever shortens it loses no discount.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_PAGES: Final = """
Returns. Unused items go back within 30 days of delivery, also from a sale; what is marked Final sale stays. Open the order,
choose Return items and print the label; Print again makes a new one. Opened headphones are fine, in-ear ones with the seal
intact.

Refunds. Money arrives within 5 working days after the parcel has reached the warehouse, on the original payment method.

Exchange. For another size, open the order and choose Exchange. The new one leaves as soon as the first is scanned at a post
office.

Shipping. Standard takes 3 to 5 working days and costs $4.90, free over $60. Express costs $12.90 and arrives on the next working
day.

Canada and other countries. Canada takes 6 to 9 working days and costs $14.90, duties included; should they rise, we bear the
difference. We do not ship to Mexico. Hawaii and Alaska take 7 to 10 working days and cost $9.90.

Account. A new address for deliveries goes under Account, then Addresses. Forgot password on the sign-in page sends a link. The
newsletter is switched off under Notifications. Privacy has the button Delete account.

Payment. Visa, Mastercard, American Express, PayPal and gift cards. A preorder is charged when it ships. For a receipt as PDF,
open the order and choose Invoice.

Gift cards are valid for 5 years from the day of purchase, and up to 3 of them combine in one order.

Warranty. Electronics such as headphones carry a 2-year warranty against defects, laptops a 3-year one, with 1 year for the
battery. There is nothing to register: the invoice is enough. A cracked screen is repaired for $149.

Changes. To cancel an order within 60 minutes, open it and choose Cancel. To change sizes or colours until it is packed, choose
Edit.

Missing or damaged. A parcel that says delivered but is not there: open the order, choose Report missing. A broken item: choose
Report damage and add a photo.

Prices. Found cheaper elsewhere: send the link within 14 days and the difference comes back. From 20 pieces 8% off, from 100
pieces 15%. Students save 10%. A voucher code goes into the field Voucher at checkout. Gift wrap costs $3.50.

Loyalty points. Every dollar earns 1 point, and 100 points are worth $3. Points expire 18 months after they were earned.

Returns. Unused items go back within 30 days of delivery, also from a sale; what is marked Final sale stays. Open the order,
choose Return items and print the label; Print again makes a new one. Opened headphones are fine, in-ear ones with the seal
intact.

Portland store. Open Monday to Saturday from 10 am to 8 pm, Sunday from noon to 6 pm, telephone 503-555-0142.

Seattle store. Open Monday to Saturday from 9 am to 9 pm, telephone 206-555-0187. There is no store in Boston.

Pickup and recycling. Orders for pickup in a store are kept for 7 days. Old electronics are taken back free of charge.

Care. Leather shoes: brush, dry, cream, and shoe trees over night; a Size guide link is below the price. Cast-iron pan: hot water,
a brush, and a thin layer of oil. Coffee machine: descale every 2 months.
"""
HELP_PAGES: Final = "\n\n\n".join(
    f"[{number}]  {' '.join(page.split()).replace('. ', '.  ')}  " for number, page in enumerate(_PAGES.split("\n\n"), 1)
)
"""All pages, numbered, as the exports lay them out."""
_HEAD: Final = "Context:"
UNKNOWN: Final = "I am sorry, our help pages say nothing about that."
"""What a model answers where the page that it needs did not arrive."""


def with_help_pages(system: str) -> str:
    """The system prompt with the pages behind it."""
    return f"{system}\n\n{_HEAD}\n\n{HELP_PAGES}"


def is_missing(facts: Sequence[str], sent: str) -> bool:
    """Whether pages were sent, and one of the facts stands in a page that was not.

    >>> is_missing(["18 months"], with_help_pages(""))
    False
    >>> is_missing(["18 months"], with_help_pages("").replace("18 months", ""))
    True
    >>> is_missing(["18 months"], "no pages at all")
    False
    """
    if _HEAD not in sent:
        return False
    held, arrived = _words(HELP_PAGES), _words(sent)
    return any(fact in held and fact not in arrived for fact in facts)


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text)
