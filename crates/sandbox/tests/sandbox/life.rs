//! How guests start, what they say and how they end.

use crate::world::{run, spec};

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let script = "ls -la /proc/1/ /proc/1/fd | head -50; cat /proc/1/environ; cat /proc/1/status | head -40; cat /proc/1/cmdline; cat /proc/1/maps; cat /proc/self/cgroup";
    let ran = run(&spec(dir.path(), &["sh", "-c", script]));
    eprintln!("{}\n{}\n{:#?} {:#?}", ran.out, ran.err, ran.exit, ran.rules);
}
