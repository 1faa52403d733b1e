//! How guests start, what they say and how they end.

use crate::world::{run, spec};

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let script = "id";
    let ran = run(&spec(dir.path(), &["sh", "-c", script]));
    eprintln!("{}\n{}\n{:#?} {:#?}", ran.out, ran.err, ran.exit, ran.rules);
}
