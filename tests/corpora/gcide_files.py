"""A tiny GCIDE in dictd's form."""

from __future__ import annotations

import gzip
from pathlib import Path

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
SEAL = r"""Seal \Seal\ (s[=e]l), n. [OE. sele, AS. seolh; akin to OHG.
   selah.] (Zo["o]l.)
   Any aquatic carnivorous mammal of the families {Phocid[ae]}
   and {Otariidae}. See {Harp seal}.
   [1913 Webster]

   Note: Seals inhabit seacoasts.
         [1913 Webster]

   {Harbor seal} (Zool.), the common seal.
      [1913 Webster] Sealed
"""
STAMP = r"""Seal \Seal\, n. [OE. seel.]
   1. An engraved stamp; as, the great seal. "A seal."
      --Shak.
      [1913 Webster]

            And with my hand I seal my love.      --Shak.
      [1913 Webster]

   2. (Mech.)
      (a) a trap for gas; -- called also {draintrap}.
      (b) Something dead. [Obs.]
          [1913 Webster]

   3. Fig.: A pledge of something.
"""
VERB = r"""Seal \Seal\, v. t. [imp. & p. p. {Sealed} (s[=e]ld); p. pr. & vb.
   n. {Sealing}.]
   To set a seal to.
"""
ENTRIES = {"Seal": (SEAL, STAMP, VERB), "seal": ("Harp \\Harp\\, n.\n   A {seal}.\n",)}


def write(folder: Path, entries: dict[str, tuple[str, ...]]) -> Path:
    """The two files of a dictionary of these entries by headword."""
    folder.mkdir(parents=True, exist_ok=True)
    text, lines = b"", []
    for word, each in entries.items():
        for entry in each:
            data = entry.encode()
            lines.append(f"{word}\t{number(len(text))}\t{number(len(data))}\n")
            text += data
    (folder / "gcide.dict.dz").write_bytes(gzip.compress(text))
    (folder / "gcide.index").write_text("".join(lines))
    return folder


def number(value: int) -> str:
    """In base 64 as dictd writes it."""
    digits = DIGITS[value % 64]
    while value := value // 64:
        digits = DIGITS[value % 64] + digits
    return digits
