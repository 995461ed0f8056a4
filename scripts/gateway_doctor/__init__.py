"""The checks of `scripts/doctor`."""
