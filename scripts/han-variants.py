#!/usr/bin/env python3
"""Writes src/score/language/han.txt: characters that tell the users of Han characters apart.

The national character sets say which characters a country's text is written with, and Python's own codecs know
them: GB 2312 (simplified Chinese), Big5 (traditional Chinese), JIS X 0208 (Japanese). The first level of each holds
the common characters; the second the rare ones, so "not in" means in neither level.

    scripts/han-variants.py > src/score/language/han.txt
"""


def members(codec, rows, cells):
    found = set()
    for row in rows:
        for cell in cells:
            try:
                text = bytes([row, cell]).decode(codec)
            except UnicodeDecodeError:
                continue
            if len(text) == 1 and "\u4e00" <= text <= "\u9fff":
                found.add(text)
    return found


EUC = range(0xA1, 0xFF)
simplified = members("gb2312", range(0xB0, 0xF8), EUC)
simplified_common = members("gb2312", range(0xB0, 0xD8), EUC)
traditional = members("big5", range(0xA4, 0xFA), range(0x40, 0xFF))
traditional_common = members("big5", range(0xA4, 0xC7), range(0x40, 0xFF))
japanese = members("euc_jp", range(0xB0, 0xF5), EUC)
japanese_common = members("euc_jp", range(0xB0, 0xD0), EUC)

# Words of Chinese grammar that Japanese has as rare characters, if at all.
GRAMMAR = set("是那也就把哪它你很她")

SETS = {
    "hans": simplified_common - traditional,
    "hant": traditional_common - simplified,
    "japanese": japanese_common - simplified - traditional,
    # And simplified forms that Japanese knows as rare variants, such as that of the counter for things.
    "chinese": ((simplified_common | traditional_common) - japanese)
    | (simplified_common - traditional - japanese_common)
    | GRAMMAR,
}

for name, characters in SETS.items():
    print(name, "".join(sorted(characters)))
