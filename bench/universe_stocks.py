"""Makes the invented companies of the package: `python bench/universe_stocks.py` writes both stocks.csv.

Names, tickers and figures come from one seed, so every run writes the same bytes. `--check FILE ...` names
the tickers (or first words of names) that also stand in lists of real ones; those go into `AVOIDED` below.
"""
# ruff: noqa: SIM905 - lists of so many words are read more easily as text

import argparse
import csv
import math
import random
from pathlib import Path

UNIVERSE = Path(__file__).parents[1] / "daemon" / "tickerd" / "market" / "universe"
COLUMNS = "symbol name sector exchange price beta annual_vol share spread_bp lot invented".split()
DEFAULT, LARGE = 500, 5000
AVOIDED = frozenset(
    """
    ADTN ADUR ADVB AIOT ALIS ALLE AMER AMRX AOMR AORT AQST AQUA ARBE ARDT ARDX AREN ARTC ARVN ARXS
    AUNA AUST AVNT AVTR AXIS BALL BETR BLIN BLIV BLLN BLMN BLNE BLRX BMNR BMRN BRBR BREZ BRLS BROS
    BRUN BRVE BULL BURL CABR CAES CALC CALM CALX CAPL CARR CARS CAST CIRC CLAR CLBR CLIR CLLS CLMT
    CLNE CLOV CLST CLVT COHN COIN COPL CORE CRAI CRAN CRAQ CRBU CRDO CREX CRON CRTO CRUS CRVL CRVO
    CRVS CTOR CURX CVLT CVNA CVRX CXDO CXII DLHC DLTH DLTR DRIO DRMA DRVN DVLT DXST DYNE DYOR EARN
    EAST EBON ELAN ELDN ELMT ELVA ELVN ELVR EQNR ERIE ERNA ESRT ESTC ETOR EVTC FAIR FAST FATN FLEX
    FLNA FLXS FLYE FLYX FNRN FRHC FRME FRMI FRST FRVO GALT GELS GLND GLRE GORO GRAB GRAL GRAN GRDN
    GRID GRML GRMN GRNT GROV GRRR GYRE HALL HELP HERZ HESM HESS HLIO HLIT HLMN HLNE HNST HODO HOME
    HOST HOVR HURA HURN ILLR IONR IOTR IQST IREN IRIS IRIX IRMD IRON IRTC ITIC IVDA JADE JANX JILL
    JOHN JRVR KARD KLAR KLRA KLRS KLTR KMDA KNRX KORN KRAQ KRMN LIMN LIQT LIVN LMNR LOAR LOVE LQDA
    LRHC LRMR LUMN LUNR MARA MAZE MIRA MIST MNST MNTN MOLN MORN MRDN MRLN MRVI MRVL MSLE MSTR MVIS
    MVST NATH NEOV NEXA NEXN NEXR NEXT NMTC NOEM NOVO NRIM NRIX NRSN NRXS NVAX NVDA NVMI NVNO NVRI
    NVST NXPL NXRT NXTC OLED OLIN OLLI OLMA OMDA OMER OMEX ORIC ORIQ ORIX OUST OXLC PALI PARA PATH
    PAXS PINE PLMR PLNT PLRZ PLTR PLUN PLUR PLXS POST PRAA PRDO PRMB PRME PROV PRPL PRQR PRTH PRVA
    PTON PXED PYPL PYXS QNST QRHC QRVO QUAD QUBT QURE RBNE REBN RELL RMIX ROMA ROST RVLV RVMD RVSN
    RYAN SBET SBEV SBRA SERA SEVN SKIN SLBT SLDE SLMT SLQT SLSN SNAP SNTI SOLS SOLV SOMN SQNS SUNE
    SVIV SVRA SVRE SVRN SYBT TARS TAVI THOR TOST TRDA TREE TREO TREX TRIN TRLV TRNR TRNS TRON TRST
    TRTN TRVI TURN TVAI TVIV TVRD TXRH UONE URBN VALE VELO VERX VIST VLRS VLTO VMET VRDN VRSN VSAT
    VSNT VTIX VTOL VTRS WEAV WELL WETH WETO WLDN WLTH WRAP WRLD WSTN XELB XMTR XNET XPEL YOUL ZEPP
    ZION ZURN ZVRA
    """.split()
)

# Sector: its part of the companies, mean beta, mean annual volatility of a company's own moves, second names.
SECTORS = {
    "Technology": (0.19, 1.25, 0.33, "Systems Devices Software Semiconductors Networks Data Photonics Labs"),
    "Health Care": (0.15, 0.8, 0.32, "Therapeutics Diagnostics Health Biologics Surgical Pharma Genomics"),
    "Financials": (0.15, 1.1, 0.23, "Capital Insurance Bancorp Trust Holdings Assurance Payments"),
    "Consumer": (0.16, 0.95, 0.29, "Foods Brands Retail Stores Apparel Leisure Beverages Motors"),
    "Industrials": (0.13, 1.05, 0.25, "Industries Logistics Aerospace Tools Freight Engineering Robotics"),
    "Energy": (0.06, 1.0, 0.32, "Petroleum Renewables Drilling Pipelines Solar"),
    "Materials": (0.06, 1.0, 0.28, "Mining Materials Chemicals Steel Timber"),
    "Utilities": (0.05, 0.5, 0.17, "Power Water Gas Grid"),
    "Communications": (0.05, 0.9, 0.28, "Media Telecom Broadcasting Games Wireless"),
}
HEADS = (
    "Quor Velt Ombr Trez Kav Nuv Sylb Dryx Helq Marz Pelv Zinq Ardov Bruq Calz Fenq Glyv Ixor Javn Lorq "
    "Myrv Nexz Orv Pyx Queb Ruv Solq Tavx Ulm Wexl Xand Yarv Zeph Aqu Bexl Crov Dulv Eskr Farq Grav Hux "
    "Ilv Jorq Krel Luv Mosq Norv Oxl Praq Ryv Skev Thax Urv Vosk Wyr Xel Yolk Zarn Brev Clax Drov Elq "
    "Flyx Gorv Hesq Ivr Jesk Kolv"
).split()
MIDDLES = "a e i o u ae io ea ara eli ovi una ire ome aru evo".split()
TAILS = (
    "ra line va mine dane thic quist nor bourne lle xis tor ven mar ston rix dova lis than zia pell quar"
).split()


class Dice(random.Random):
    """Draws that use nothing but `random()`, whose sequence Python promises to keep."""

    def pick(self, choices: list[str]) -> str:
        """One of the choices."""
        return choices[int(self.random() * len(choices))]

    def normal(self) -> float:
        """Nearly a standard normal draw: twelve uniform ones."""
        return math.fsum(self.random() for _ in range(12)) - 6


def company(dice: Dice, taken: set[str]) -> tuple[str, str]:
    """A stem of a name and a ticker that nobody else has: "Quorva", "QRVA"."""
    while True:
        stem = dice.pick(HEADS) + dice.pick(MIDDLES) + dice.pick(TAILS)
        letters = stem.upper()
        kept = [n for n in range(1, len(letters)) if letters[n] not in "AEIOU" or dice.random() < 0.25]
        while len(kept) > 3:
            kept.pop(int(dice.random() * len(kept)))
        ticker = letters[0] + "".join(letters[n] for n in kept)
        names = {ticker, stem.upper()}
        if len(ticker) == 4 and taken.isdisjoint(names) and AVOIDED.isdisjoint(names):
            taken |= names
            return stem, ticker


def rows(count: int) -> list[list[object]]:
    """The companies; the first ones are the same for every count, but for nothing else than their order."""
    dice = Dice(20261123)
    taken = {"QRVA", "QUORVA"}
    made: list[list[object]] = []
    for rank in range(count):
        sector = dice.pick([name for name, (part, *_) in SECTORS.items() for _ in range(round(part * 100))])
        _, beta, vol, seconds = SECTORS[sector]
        stem, ticker = company(dice, taken)
        price = round(min(900.0, max(6.0, 62 * math.exp(0.85 * dice.normal()))), 2)
        beta = round(min(2.2, max(0.1, beta + 0.2 * dice.normal())), 2)
        # Small companies move more.
        vol = round(
            min(
                0.6, max(0.1, 0.8 * vol * math.exp(0.2 * dice.normal()) * (1 + 0.06 * math.log1p(rank / 50)))
            ),
            3,
        )
        share = round(1000 / (rank + 9) ** 1.08 * (0.9 + 0.2 * dice.random()), 4)
        spread = round(max(100 * 1.0 / price, 1.1 * (1 + rank / 60) ** 0.55 * (0.8 + 0.4 * dice.random())), 2)
        second = dice.pick(seconds.split())
        exchange = (
            "XNAS" if dice.random() < (0.75 if sector in {"Technology", "Health Care"} else 0.3) else "XNYS"
        )
        if rank == 0:  # the one in the examples of the documentation
            stem, ticker, sector, second, exchange = "Quorva", "QRVA", "Technology", "Systems", "XNAS"
            price, beta, vol, spread = 126.55, 1.38, 0.27, 1.6
        made.append(
            [ticker, f"{stem} {second}", sector, exchange, price, beta, vol, share, spread, 100, "yes"]
        )
    return made


def main() -> None:
    """Write the files, or compare the large one with lists of real names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", type=Path, nargs="+", metavar="FILE", help="lists, one word a line")
    arguments = parser.parse_args()
    if arguments.check:
        real = {word.upper() for file in arguments.check for word in file.read_text().split()}
        for symbol, name, *_ in rows(LARGE):
            print(*sorted({str(symbol), str(name).split()[0].upper()} & real), end=" ")
        print()
        return
    for count, directory in ((DEFAULT, UNIVERSE), (LARGE, UNIVERSE / "large")):
        with (directory / "stocks.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(count))


if __name__ == "__main__":
    main()
