"""What a request costs here and in other libraries: `make bench` measures and writes docs/benchmarks/."""
