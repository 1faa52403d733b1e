//! The binary: command line, configuration, API, wiring.

fn main() {}
