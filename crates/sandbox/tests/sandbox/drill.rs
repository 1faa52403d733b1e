//! The drill's own attacks, but for those that need a gate: all walls hold them, and with walls taken away they work.

use crate::world::{ATTACKER, Site, able, launch_with, launcher, open_to_all};
use sandbox::drill::{Board, Finding, Outside, VARIABLE, Verdict, attacks};
use sandbox::{Part, Profile, Spec};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// One drill in guests of the launcher; what is left away is claimed all the same.
fn drilled(
    only: &[&str],
    profile: Profile,
    without: &[Part],
    given_up: &BTreeMap<Part, String>,
) -> Vec<Finding> {
    let site = Site::new();
    let place = site.dir.path().join("drill");
    std::fs::create_dir(&place).unwrap();
    open_to_all(&place, 0o755);
    let mut outside = Outside::new(&place, &nonce(), Path::new(ATTACKER)).unwrap();
    let own = site.dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    open_to_all(&own, 0o755);
    std::fs::write(own.join("admin.token"), "token").unwrap();
    let _runs = std::os::unix::net::UnixListener::bind(own.join("run.sock")).unwrap();
    open_to_all(&own.join("run.sock"), 0o777);
    outside.setting().own = vec![own];
    outside.setting().door = 7401;
    outside.setting().fill = 64 << 20;
    let mut board = Board::new(&only.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).unwrap();
    loop {
        let batch = board.next_batch();
        if batch.is_empty() {
            break;
        }
        let words: Vec<&str> = batch.iter().map(String::as_str).collect();
        let mut spec = spec(&site, &outside.workspace(), &words);
        spec.profile = profile;
        spec.without = without.iter().copied().collect();
        if batch == ["resources.disk"] {
            let disk = rustix::fs::statvfs(&spec.workspace).unwrap();
            spec.limits.disk_free_bytes = disk.f_bavail * disk.f_frsize - (4 << 20);
            outside.setting().floor = spec.limits.disk_free_bytes;
        }
        if batch == ["resources.cpu"] {
            spec.limits.cpu_millis = Some(200);
        }
        let setting = serde_json::to_string(outside.setting()).unwrap();
        spec.env.insert(VARIABLE.to_owned(), setting);
        if without.contains(&Part::Network) {
            // They would be the machine's own.
            spec.doors.clear();
        }
        let (_keyboard, terminal) = terminal();
        let ran = launch_with(launcher(), &spec, terminal).unwrap().finish();
        for line in ran.out.lines() {
            board.heard(line);
            board.touched(outside.touched());
        }
        board.ended(&ran.exit);
        outside.left(&mut board);
    }
    board.findings(given_up)
}

/// Both sides of a terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let outside = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&outside).unwrap();
    unlockpt(&outside).unwrap();
    let name = ptsname(&outside, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let inside = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (outside, inside)
}

/// Another one each time, in each process.
fn nonce() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!(
        "{:08x}{:08x}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

fn spec(site: &Site, workspace: &Path, batch: &[&str]) -> Spec {
    let mut words = vec!["__attack"];
    words.extend(batch);
    let mut spec = site.attack(&words);
    workspace.clone_into(&mut spec.workspace);
    spec.workspace_at.clone_from(&spec.workspace);
    spec.limits.memory_bytes = Some(128 << 20);
    spec.doors = [7401].into();
    spec.hidden = vec![workspace.join(".cofferdam")];
    spec
}

/// All that needs no gate, and is made by a guest.
fn areas() -> Vec<&'static str> {
    let inside = attacks().filter(|attack| attack.is_inside() && attack.area() != "gate");
    inside.map(|attack| attack.id).collect()
}

#[test]
fn every_wall_holds_every_attack() {
    if !able() {
        return;
    }
    for profile in [Profile::Standard, Profile::Strict, Profile::Build] {
        let findings = drilled(&areas(), profile, &[], &BTreeMap::new());
        let open: Vec<_> = findings.iter().filter(|f| f.verdict != Verdict::Held).collect();
        assert!(open.is_empty(), "{profile:?} {open:#?}");
        assert_eq!(findings.len(), areas().len());
    }
}

/// Attacks that more stops than the parts that claim to: those alone taken away, they are still held.
const HELD_BY_MORE: &[(&str, &str)] = &[
    ("files.shadow", "guests are no user who may read it"),
    ("files.hard-link", "no link crosses file systems"),
    ("files.system", "guests are no user who may write there"),
    ("files.kernel", "guests are no user who may write there"),
    (
        "files.hidden",
        "it is hidden by a mount, and read-only by another",
    ),
    ("files.handle", "it takes a privilege outside of all namespaces"),
    ("files.device", "it takes a privilege outside of all namespaces"),
    (
        "processes.signal",
        "the victim is of another user here; see `walls::processes_of_others`",
    ),
    (
        "processes.trace",
        "the victim is of another user here; see `walls::processes_of_others`",
    ),
    ("processes.root", "guests are no user who may"),
    (
        "processes.enter",
        "the first process is not the guest's to look at",
    ),
    ("kernel.bpf", "kernels keep it from everybody without privileges"),
    ("kernel.module", "it takes a privilege outside of all namespaces"),
    ("kernel.log", "it takes a privilege outside of all namespaces"),
    ("kernel.new", "this kernel does not know it either"),
    ("network.icmp", "kernels keep it from groups that are not named"),
];
/// What is not made without its walls: for it, /proc has to be the guest's own; see `walls::privileges`.
const NOT_WITHOUT: &[&str] = &["processes.set-user-id"];

/// Each wall alone stops each attack that it claims to stop. Without any the attack works, and is told as broken; where
/// they are given up, nothing is guaranteed, and nothing counts as held.
#[test]
fn each_wall_that_claims_an_attack_holds_it_alone() {
    if !able() {
        return;
    }
    let claimed = attacks().filter(|attack| attack.is_inside() && !attack.walls.is_empty());
    for attack in claimed.filter(|attack| !NOT_WITHOUT.contains(&attack.id)) {
        for alone in attack.walls {
            let without: Vec<Part> = attack
                .walls
                .iter()
                .copied()
                .filter(|part| part != alone)
                .collect();
            let finding = &drilled(&[attack.id], Profile::Standard, &without, &BTreeMap::new())[0];
            assert_eq!(finding.verdict, Verdict::Held, "{alone:?} alone: {finding:?}");
        }
        let given_up = attack
            .walls
            .iter()
            .map(|part| (*part, "a test".to_owned()))
            .collect();
        let told = |given_up| drilled(&[attack.id], Profile::Standard, attack.walls, given_up).remove(0);
        let (claimed, admitted) = (told(&BTreeMap::new()), told(&given_up));
        let is_held = HELD_BY_MORE.iter().any(|(id, _)| *id == attack.id);
        let expected = if is_held { Verdict::Held } else { Verdict::Broken };
        assert_eq!(claimed.verdict, expected, "{claimed:?}");
        assert_eq!(admitted.verdict, Verdict::NotGuaranteed, "{admitted:?}");
        assert!(admitted.evidence.contains(": a test; it "), "{admitted:?}");
    }
}

/// What is attacked, made.
fn made_in(site: &Site) -> Outside {
    let place = site.dir.path().join("drill");
    std::fs::create_dir(&place).unwrap();
    Outside::new(&place, &nonce(), Path::new(ATTACKER)).unwrap()
}

/// Nothing of it lies about afterwards, wherever it was put.
#[test]
fn what_is_attacked_is_gone_with_the_drill() {
    let site = Site::new();
    let outside = made_in(&site);
    let setting = serde_json::to_value(outside.known()).unwrap();
    let file = Path::new("/dev/shm").join(setting["shared"].as_str().unwrap());
    let victim = Path::new("/proc").join(setting["victim"].to_string());
    let segments = || std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let key = setting["key"].to_string();
    let is_there = |key: &str| {
        segments()
            .lines()
            .any(|line| line.split_whitespace().next() == Some(key))
    };
    assert!(file.exists() && victim.exists() && is_there(&key), "{setting}");
    drop(outside);
    assert!(!file.exists() && !victim.exists() && !is_there(&key), "{setting}");
}

/// Whoever puts something else under the canary's name changes it, and nothing behind it is written to.
#[test]
fn a_canary_is_no_way_to_what_lies_elsewhere() {
    let site = Site::new();
    let mut outside = made_in(&site);
    assert_eq!(outside.touched(), Vec::<String>::new());
    let (secret, theirs) = (
        site.dir.path().join("drill/outside/secret"),
        site.dir.path().join("theirs"),
    );
    std::fs::write(&theirs, "theirs").unwrap();
    std::fs::remove_file(&secret).unwrap();
    std::os::unix::fs::symlink(&theirs, &secret).unwrap();
    assert_eq!(outside.touched(), ["a file outside was changed"]);
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
    assert!(!secret.symlink_metadata().unwrap().is_symlink());
    assert_eq!(outside.touched(), Vec::<String>::new());
}
