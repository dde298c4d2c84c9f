"""The parts of `bench/compare`. Standard library only, so that what measures needs no installation."""
