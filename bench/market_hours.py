"""Bakes daemon/tickerd/market/sessions.csv: where exchanges keep other hours than their ordinary ones.

`python bench/market_hours.py` needs the package exchange_calendars (4.13.2 made the file that is there); the
program does not. Afterwards every session of every year is compared with what hours.py makes of the file.
"""

import csv
import warnings
from datetime import date, timedelta
from pathlib import Path

import exchange_calendars
import numpy as np

from tickerd.market import hours
from tickerd.schedule import FRAMES_PER_SECOND

FIRST, LAST = date(2015, 1, 1), date(2040, 12, 31)
FILE = Path(hours.__file__).with_name("sessions.csv")


def calendar(exchange: str) -> exchange_calendars.ExchangeCalendar:
    """The exchange's calendar over all the years."""
    return exchange_calendars.get_calendar(exchange, start=str(FIRST), end=str(LAST))


def real_hours(exchange: str) -> dict[date, str]:
    """What the calendar says about each day on which the exchange is open, in local time."""
    opened = calendar(exchange)
    times = {}
    for row in opened.schedule.itertuples():
        kept = [row.open, row.break_start, row.break_end, row.close]
        local = [time.tz_convert(opened.tz).strftime("%H:%M") for time in kept if time == time]  # noqa: PLR0124 - no time is not equal to itself
        times[row.Index.date()] = " ".join(map("-".join, zip(local[::2], local[1::2], strict=True)))
    return times


def main() -> None:
    """Write the file, then compare."""
    warnings.simplefilter("ignore")
    exceptions = []
    for exchange in hours.EXCHANGES:
        real = real_hours(exchange)
        for day in (FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)):
            rule = [rule for rule in hours.RULES[exchange] if rule.since <= day.isoformat()][-1]
            if real.get(day, "") != (rule.hours if day.weekday() < 5 else ""):
                exceptions.append((exchange, day.isoformat(), real.get(day, "")))
    with FILE.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("exchange", "day", "hours"))
        writer.writerows(exceptions)
    print(f"{len(exceptions)} days in {FILE}")
    for exchange in hours.EXCHANGES:
        schedule = calendar(exchange).schedule
        columns = (schedule[name].dropna() for name in ("open", "break_start", "break_end", "close"))
        moments = sorted({round(time.timestamp()) for column in columns for time in column})
        real_frames = np.array(moments) * FRAMES_PER_SECOND
        edges = np.unique(np.concatenate([hours._edges(exchange, year) for year in range(2015, 2041)]))
        inside = (edges >= real_frames[0]) & (edges <= real_frames[-1])
        assert np.array_equal(edges[inside], real_frames), exchange
        print(f"{exchange}: {len(schedule)} sessions agree")


if __name__ == "__main__":
    main()
