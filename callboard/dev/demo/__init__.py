"""A shop's morning: 40 orders through the whole service, with everything that goes wrong on mornings."""

from callboard.dev.demo.morning import check_again, run_morning

__all__ = ["check_again", "run_morning"]
