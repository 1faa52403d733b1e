//! For tests only: a clock that stands still, a disk that lies, upstreams that follow a script.
