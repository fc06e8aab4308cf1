"""The demo's data: recipients, their mails, and which attempts fail on purpose. Pure.

Everything follows from the recipient's number, so every run makes the same files.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from email import policy
from email.charset import QP, Charset
from email.mime.text import MIMEText
from email.utils import formataddr

__all__ = [
    "COLUMNS",
    "MAX_ATTEMPTS",
    "attempt_fails",
    "file_name",
    "message_id",
    "message_ids",
    "recipients_csv",
    "render",
]

COLUMNS = ("number", "name", "address", "product", "amount", "due")
MAX_ATTEMPTS = 20  # of one recipient; the last one does not fail on purpose

_FIRST = "Ada Björn Chloé Dmitri Esra Fàtima Grace Hana Inés 李雷 José Κώστας Łukasz Noor".split()
_LAST = "Adams Brückner Costa Dvořák Fontaine García Huang Jansen Kowalski Müller Okafor".split()
_PRODUCTS = ("a tea set, blue", 'a 24" monitor', "two concert tickets", "a raincoat; size M")

_UTF8 = Charset("utf-8")
_UTF8.body_encoding = QP  # whoever opens a file can read it
_CRLF = policy.compat32.clone(linesep="\r\n")
_MESSAGE_ID = re.compile(rb"^Message-ID: (.*?)\r?$", re.MULTILINE | re.IGNORECASE)


def recipients_csv(count: int) -> bytes:
    """Return a CSV file in UTF-8 with a head line and `count` recipients, numbered from 1."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for number in range(1, count + 1):
        name = f"{_FIRST[number % len(_FIRST)]} {_LAST[number * 7 % len(_LAST)]}"
        amount = f"{number * 37 % 99_900 / 100 + 1:.2f}"
        due = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}"
        product = _PRODUCTS[number % len(_PRODUCTS)]
        writer.writerow((number, name, f"customer{number}@example.org", product, amount, due))
    return text.getvalue().encode()


def file_name(number: int) -> str:
    """Return the name of the recipient's file: one recipient, one name."""
    return f"{number:06}.eml"


def message_id(number: int) -> str:
    """Return the Message-ID of the recipient's mail."""
    return f"<invoice-{number}@demo.example.org>"


def message_ids(mail: bytes) -> list[str]:
    """Return every Message-ID in the head of a mail; a sound one has one."""
    head = re.split(rb"\r?\n\r?\n", mail, maxsplit=1)[0]
    return [found.decode("utf-8", "replace") for found in _MESSAGE_ID.findall(head)]


def attempt_fails(number: int, attempt: int) -> bool:
    """Whether this attempt fails on purpose: one in five does, spread evenly, never the last."""
    return attempt < MAX_ATTEMPTS and zlib.crc32(b"%d/%d" % (number, attempt)) % 5 == 0


def render(row: dict[str, str]) -> bytes:
    """Return the recipient's mail, as it would be handed to a mail server."""
    text = (
        f"Dear {row['name']},\n\n"
        f"thank you for ordering {row['product']}.\n"
        f"Please pay {row['amount']} EUR until {row['due']}.\n\n"
        f"Yours sincerely\nAccounts\n"
    )
    mail = MIMEText(text, "plain", _UTF8)  # type: ignore[arg-type]  # a fifth of EmailMessage's time
    mail["From"] = "Accounts <accounts@example.org>"
    mail["To"] = formataddr((row["name"], row["address"]))
    mail["Subject"] = f"Your order: {row['product']}"
    mail["Date"] = "Mon, 02 Nov 2026 09:00:00 +0000"
    mail["Message-ID"] = message_id(int(row["number"]))
    return mail.as_bytes(policy=_CRLF)
