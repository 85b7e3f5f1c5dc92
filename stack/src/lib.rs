//! Starts a private local stack of Redis and the daemons: one launcher for the demo, the tests and the benchmarks.
