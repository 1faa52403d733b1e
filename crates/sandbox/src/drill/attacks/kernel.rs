//! Attacks on the kernel: calls that a guest has no business with.

use super::{Attack, Way, attack};
use crate::spec::Part::{self, Capabilities, Seccomp};

const FILTER: &[Part] = &[Seccomp];
const FLAWS: &str = "parts of the kernel with many flaws in the past, of which one is enough";

#[rustfmt::skip]
pub const KERNEL: &[Attack] = &[
    attack("kernel.keys", "use the keys of the user", "keys of other sessions are among them", FILTER, &[&["keys"]]),
    attack("kernel.io-uring", "use io_uring", "what it asks of the kernel no filter sees", FILTER, &[&["io-uring"]]),
    attack("kernel.userfault", "handle page faults of the kernel", FLAWS, FILTER, &[&["userfault"]]),
    attack("kernel.bpf", "load something into the kernel's own machine", FLAWS, &[Seccomp, Capabilities], &[&["bpf"]]),
    attack("kernel.perf", "use performance counters", FLAWS, FILTER, &[&["perf"]]),
    attack("kernel.module", "load a module", "a module is the kernel", &[Seccomp, Capabilities], &[&["load-module"]]),
    attack("kernel.log", "read the kernel's log", "addresses in it help the next attack", &[Seccomp, Capabilities], &[&["kernel-log"]]),
    attack("kernel.personality", "switch protections of memory off", "the next flaw is easier to use", FILTER, &[&["personality"]]),
    attack("kernel.foreign", "make calls of another architecture", "they have other numbers, which pass a filter of ours", FILTER, &[
        &["foreign"],
    ]).way(Way::Alone),
    attack("kernel.new", "make a call that nobody knows yet", "a filter that lists what is bad does not know the next one", FILTER, &[
        &["new-call"],
    ]),
    attack("kernel.terminal", "type into the terminal of whoever started it", "the next command of a person's shell would be the agent's",
        FILTER, &[&["type-into-terminal"], &["type-as-leader"]]),
];
