//! What the benchmarks share: percentiles and one way to print a figure.
