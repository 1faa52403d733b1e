//! What is kept of a review lands in the workspace and nowhere else, and is what was seen.

use crate::flight::flight;
use sandbox::review::{KeepError, keep, look};
use std::os::unix::fs::symlink;
use std::path::Path;

/// What it is called, and what is done.
type Row<T> = (&'static str, fn(&T));

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        for name in ["review/changes", "workspace", "outside"] {
            std::fs::create_dir_all(place.at(name)).unwrap();
        }
        std::fs::write(place.at("outside/file"), "theirs").unwrap();
        place
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Links that lie in the workspace lead nothing out of it: they are replaced where the guest had a directory or a file
/// of its own, and a link of the guest's is made and not used.
#[test]
fn nothing_outside_is_reached_by_a_link() {
    #[rustfmt::skip]
    let table: [Row<Place>; 3] = [
        ("a directory that is a link by now", |p| {
            write(&p.at("review/changes/dir/file"), "mine");
            symlink(p.at("outside"), p.at("workspace/dir")).unwrap();
        }),
        ("a file that is a link by now", |p| {
            write(&p.at("review/changes/file"), "mine");
            symlink(p.at("outside/file"), p.at("workspace/file")).unwrap();
        }),
        ("a link of the guest's", |p| {
            symlink(p.at("outside"), p.at("review/changes/link")).unwrap();
            write(&p.at("review/changes/z"), "mine");
        }),
    ];
    for (what, prepare) in table {
        let place = Place::new();
        prepare(&place);
        let reviewed = look(&place.at("review")).unwrap();
        keep(&flight(), &place.at("review"), &reviewed, &place.at("workspace")).unwrap();
        let outside: Vec<_> = std::fs::read_dir(place.at("outside")).unwrap().collect();
        assert_eq!(outside.len(), 1, "{what}: {outside:?}");
        assert_eq!(
            std::fs::read_to_string(place.at("outside/file")).unwrap(),
            "theirs",
            "{what}"
        );
        let made = ["dir/file", "file", "z"].map(|name| place.at("workspace").join(name));
        let mine = made
            .iter()
            .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| text == "mine"));
        assert_eq!(mine.count(), 1, "{what}");
    }
}

/// What has the name of an unfinished file is somebody's, and stays as it is.
#[test]
fn nothing_is_in_the_way_of_what_is_unfinished() {
    let place = Place::new();
    write(&place.at("review/changes/file"), "mine");
    symlink(place.at("outside/file"), place.at("workspace/.cofferdam-keep")).unwrap();
    let reviewed = look(&place.at("review")).unwrap();
    let kept = keep(&flight(), &place.at("review"), &reviewed, &place.at("workspace"));
    let said = kept.unwrap_err().to_string();
    assert_eq!(said, "`file`: File exists (os error 17)");
    assert_eq!(
        std::fs::read_to_string(place.at("outside/file")).unwrap(),
        "theirs"
    );
    assert!(!place.at("workspace/file").exists());
}

/// A directory that a guest closed is closed when all in it is made, and what is to be thrown away is, closed or not.
#[test]
fn rights_of_directories_are_the_last_to_be_given() {
    let place = Place::new();
    write(&place.at("review/changes/closed/deep/file"), "mine");
    let closed = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    for (name, mode) in [("closed/deep", 0o000), ("closed", 0o555)] {
        std::fs::set_permissions(place.at("review/changes").join(name), closed(mode)).unwrap();
    }
    let reviewed = look(&place.at("review")).unwrap();
    keep(&flight(), &place.at("review"), &reviewed, &place.at("workspace")).unwrap();
    let mode = |name: &str| {
        std::os::unix::fs::PermissionsExt::mode(&place.at(name).metadata().unwrap().permissions()) & 0o777
    };
    assert_eq!(
        (mode("workspace/closed"), mode("workspace/closed/deep")),
        (0o555, 0)
    );
    assert_eq!(
        std::fs::read_to_string(place.at("workspace/closed/deep/file")).unwrap(),
        "mine"
    );
    sandbox::review::discard(&place.at("review")).unwrap();
    assert!(!place.at("review").exists());
}

#[test]
fn what_is_mounted_in_a_workspace_is_seen() {
    assert_eq!(
        sandbox::review::mounted(Path::new("/sys/kernel/none")).unwrap(),
        Vec::<std::path::PathBuf>::new()
    );
    let found = sandbox::review::mounted(Path::new("/")).unwrap();
    assert!(found.contains(&"/proc".into()), "{found:?}");
}

#[test]
fn what_was_not_seen_is_not_kept() {
    #[rustfmt::skip]
    let table: [Row<Path>; 5] = [
        ("another content", |changes| write(&changes.join("file"), "evil")),
        ("another mode",    |changes| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(changes.join("file"), mode).unwrap();
        }),
        ("one more",        |changes| write(&changes.join("more"), "")),
        ("one less",        |changes| std::fs::remove_file(changes.join("file")).unwrap()),
        ("another target",  |changes| {
            std::fs::remove_file(changes.join("link")).unwrap();
            symlink("/etc/shadow", changes.join("link")).unwrap();
        }),
    ];
    for (what, alter) in table {
        let place = Place::new();
        let changes = place.at("review/changes");
        write(&changes.join("file"), "mine");
        symlink("/etc/hosts", changes.join("link")).unwrap();
        let reviewed = look(&place.at("review")).unwrap();
        alter(&changes);
        let kept = keep(&flight(), &place.at("review"), &reviewed, &place.at("workspace"));
        assert!(matches!(kept, Err(KeepError::Altered)), "{what}: {kept:?}");
        assert_eq!(
            std::fs::read_dir(place.at("workspace")).unwrap().count(),
            0,
            "{what}"
        );
    }
}

/// A file that says that it is larger than any disk is not read to its end.
#[test]
fn more_than_anybody_could_look_at_is_refused() {
    let place = Place::new();
    let file = std::fs::File::create(place.at("review/changes/huge")).unwrap();
    file.set_len(5 << 30).unwrap();
    let refused = look(&place.at("review")).unwrap_err();
    assert_eq!(refused.to_string(), "more than 4 GiB of changes");
}
