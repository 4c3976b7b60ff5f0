"""Reads a list of [expression, zone, epoch seconds, count] as JSON and prints the next times of each, or null."""

import json
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter


def times(expression, zone, after, count):
    begin = datetime.fromtimestamp(after, ZoneInfo(zone))
    try:
        it = croniter(expression, begin, second_at_beginning=True)
        return [it.get_next(datetime).isoformat() for _ in range(count)]
    except CroniterError:
        return None


json.dump([times(*case) for case in json.load(sys.stdin)], sys.stdout)
