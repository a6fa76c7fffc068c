"""The content of a request, as far as it can be billed: text, tools, media, searches and the number of answers.

Everything here is a ceiling by the makers' own documentation, counted offline; what has none is named, with the remedy.
"""

from llmthrift_core.outgoing.outgoing import Outgoing, Sent, outgoing_of

__all__ = ["Outgoing", "Sent", "outgoing_of"]
