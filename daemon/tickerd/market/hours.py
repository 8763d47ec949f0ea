"""When each market is open: a stub until the baked sessions come."""

EXCHANGES = (
    "XNYS",
    "XNAS",
    "XLON",
    "XETR",
    "XPAR",
    "XAMS",
    "XMIL",
    "XMAD",
    "XSWX",
    "XTKS",
    "XHKG",
    "XASX",
    "XTSE",
)
