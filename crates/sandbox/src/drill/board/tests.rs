//! Every way to a verdict.

use super::*;
use crate::guest::{End, Usage};

fn exit(stop: Option<Stop>, memory_kills: u64) -> Exit {
    Exit {
        end: End::Code(0),
        stop,
        refused: BTreeMap::new(),
        held_back: Vec::new(),
        usage: Usage {
            memory_kills,
            ..Usage::default()
        },
    }
}

fn begin(id: &str, at: usize) -> String {
    format!(r#"{{"begin":{{"id":"{id}","at":{at}}}}}"#)
}

fn said(id: &str, seen: &str) -> String {
    format!(r#"{{"seen":{{"id":"{id}","seen":{seen}}}}}"#)
}

/// What is told of one attack, and from which on it goes on in another guest.
fn told(id: &str, lines: &[String], exit: &Exit, touched: &[&str], given_up: &[Part]) -> String {
    let mut board = Board::new(&[id.to_owned()]).unwrap();
    let _ = board.next_batch();
    lines.iter().for_each(|line| board.heard(line));
    board.touched(touched.iter().map(|one| (*one).to_owned()).collect());
    board.ended(exit);
    let again = board.next_batch().join(" ");
    let given_up = given_up.iter().map(|part| (*part, "away".to_owned())).collect();
    let finding = board.findings(&given_up).remove(0);
    format!(
        "{:?}: {}{}{again}",
        finding.verdict,
        finding.evidence,
        if again.is_empty() { "" } else { "; again " }
    )
}

#[test]
fn every_way_to_a_verdict() {
    let held = |id| said(id, r#"{"held":"EPERM"}"#);
    let broken = |id| said(id, r#"{"broken":"it read"}"#);
    let killed = |id, signal: i32| said(id, &format!(r#"{{"killed":{signal}}}"#));
    let call = || exit(Some(Stop::Call("mount".to_owned())), 0);
    let (fine, memory) = (exit(None, 0), exit(Some(Stop::Memory), 1));
    let (link, mount, bomb) = ("files.link", "files.mount", "resources.memory");
    let walls = [Part::Root, Part::LandlockFiles];
    type Row<'a> = (
        &'a str,
        &'a str,
        Vec<String>,
        Exit,
        &'a [&'a str],
        &'a [Part],
        &'a str,
    );
    #[rustfmt::skip]
    let table: [Row<'_>; 19] = [
        ("stopped",                link,  vec![held(link)],          fine.clone(), &[], &[], "Held: EPERM"),
        ("it worked",              link,  vec![broken(link)],        fine.clone(), &[], &[], "Broken: it read"),
        ("seen outside alone",     link,  vec![held(link)],          fine.clone(), &["touched"], &[], "Broken: touched"),
        ("seen without a word",    link,  vec![],                    fine.clone(), &["touched"], &[], "Broken: touched"),
        ("one wall is left",       link,  vec![held(link)],          fine.clone(), &[], &walls[..1], "Held: EPERM"),
        ("works past one wall",    link,  vec![broken(link)],        fine.clone(), &[], &walls[..1], "Broken: it read"),
        ("no wall, stopped",       link,  vec![held(link)],          fine.clone(), &[], &walls, "NotGuaranteed: without root: away; landlock_files: away; it was stopped this time: EPERM"),
        ("no wall, worked",        link,  vec![broken(link)],        fine.clone(), &[], &walls, "NotGuaranteed: without root: away; landlock_files: away; it works: it read"),
        ("not tried",              link,  vec![said(link, r#"{"not_tried":"why"}"#)], fine.clone(), &[], &[], "NotTried: why"),
        ("ended before it",        link,  vec![],                    fine.clone(), &[], &[], "NotTried: its guest ended before it: Code(0), None"),
        ("ended meanwhile",        link,  vec![begin(link, 0)],      exit(Some(Stop::Timeout), 0), &[], &[], "NotTried: its guest ended meanwhile: Code(0), Some(Timeout)"),
        ("for what is no claim",   link,  vec![begin(link, 0)],      memory.clone(), &[], &[], "NotTried: its guest ended meanwhile: Code(0), Some(Memory)"),
        ("by a call: it goes on",  mount, vec![begin(mount, 1)],     call(), &[], &[], "NotTried: the drill ended before it; again files.mount@2"),
        ("memory",                 bomb,  vec![begin(bomb, 0)],      memory, &[], &[], "Held: ended for its memory"),
        ("memory, one process",    bomb,  vec![killed(bomb, 9)],     exit(None, 1), &[], &[], "Held: ended for its memory"),
        ("killed by nobody knows", bomb,  vec![killed(bomb, 9)],     fine.clone(), &[], &[], "NotTried: the attacker was ended by signal 9"),
        ("by the filter",          mount, vec![killed(mount, 31)],   fine.clone(), &[], &[], "Held: ended by the filter of calls"),
        ("nonsense, and others'",  link,  vec!["{".to_owned(), held(mount), held(link)], fine.clone(), &[], &[], "Held: EPERM"),
        ("opaque",                 "gate.rebinding", vec![],         fine, &[], &[], "NotGuaranteed: the drill rules no name: the gate dials the address that it checked, which its tests show with names of their own"),
    ];
    for (name, id, lines, exit, touched, given_up, expected) in table {
        assert_eq!(told(id, &lines, &exit, touched, given_up), expected, "{name}");
    }
}

#[test]
fn what_went_on_in_several_guests_is_told_as_one() {
    let mut board = Board::new(&["files.mount".to_owned()]).unwrap();
    for (at, call) in [(0, "mount"), (2, "open_tree")] {
        let _ = board.next_batch();
        board.heard(&begin("files.mount", at));
        board.ended(&exit(Some(Stop::Call(call.to_owned())), 0));
    }
    assert_eq!(board.next_batch(), ["files.mount@3"]);
    board.heard(&said("files.mount", r#"{"held":"EPERM"}"#));
    board.ended(&exit(None, 0));
    assert_eq!(board.next_batch(), Vec::<String>::new());
    let finding = board.findings(&BTreeMap::new()).remove(0);
    assert_eq!(
        finding.evidence,
        "ended at the call `mount`, ended at the call `open_tree`, EPERM"
    );
}

#[test]
fn what_is_chosen() {
    let count = |only: &[&str]| {
        let only: Vec<String> = only.iter().map(|one| (*one).to_owned()).collect();
        Board::new(&only).map(|board| board.chosen().count())
    };
    assert_eq!(count(&["files.link"]), Ok(1));
    assert_eq!(count(&["files.link", "files"]), count(&["files"]));
    assert_eq!(count(&[]), Ok(attacks().count()));
    let unknown = "`file` is no attack and no area; `cofferdam drill --list` names them";
    assert_eq!(count(&["file"]), Err(unknown.to_owned()));
}
