//! Attacks on what there is of the machine, and on the end.

use super::{Attack, Way, attack};
use crate::spec::Part::{CpuLimit, MemoryLimit, ProcessCount, ProcessLimits, Processes};

const OTHERS: &str = "everything else on this machine would stand still";

#[rustfmt::skip]
pub const RESOURCES: &[Attack] = &[
    attack("resources.processes", "fork without end", OTHERS, &[ProcessCount, ProcessLimits], &[
        &["fork-bomb", "1024"],
    ]).way(Way::Alone),
    attack("resources.memory", "take more memory than it may", OTHERS, &[MemoryLimit], &[
        &["memory", "402653184"],
    ]).way(Way::Alone),
    attack("resources.cpu", "take more of the processors than it may", OTHERS, &[CpuLimit], &[
        // Of a fifth of one, for three seconds.
        &["processor", "2", "200", "3000"],
    ]).way(Way::Alone),
    attack("resources.files", "open files without end", OTHERS, &[ProcessLimits], &[&["open-files", "4096"]]),
    attack("resources.large-file", "write a file larger than it may", "a disk that is full stops the platform too", &[ProcessLimits], &[
        &["large-file", "large", "8589934592"],
    ]),
    attack("resources.scratch", "fill /tmp", OTHERS, &[MemoryLimit], &[
        &["fill", "/tmp/drill-fill", "402653184"],
    ]).way(Way::Alone),
    attack("resources.disk", "fill the disk of its workspace", "a disk that is full stops the platform too", &[], &[
        &["fill-and-wait", "fill", "{fill}", "10", "{floor}"],
    ]).way(Way::Alone).by("the platform ends it when the disk is nearly full"),
];

#[rustfmt::skip]
pub const LIFE: &[Attack] = &[
    attack("life.fork", "fork twice, leave the session, and go on after the end", "an agent that outlives its run is nobody's", &[
        Processes, ProcessCount, MemoryLimit, CpuLimit], &[&["outlive", "lock", "pid"]]).way(Way::SeenOutside),
    attack("life.command", "go on when the command that started it is gone", "an agent that outlives its run is nobody's", &[Processes], &[
        &["hold", "lock"],
    ]).way(Way::Disconnect),
    attack("life.launcher", "go on when the launcher is killed", "a crash of the platform must not set agents free", &[Processes], &[
        &["hold", "lock"],
    ]).way(Way::KillLauncher),
];
