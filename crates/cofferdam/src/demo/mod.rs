//! The demo: the whole story on one machine, without a key and without a network.
