//! This program as it is put into containers: with the loader and the libraries that it runs with here.
//!
//! An image has another C library, or none. So nothing of the image is used: the loader of this machine is executed and
//! told where the libraries of this machine are. It takes the same processor, which is checked nowhere but there.

use crate::step::Cause;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where everything of ours is in a container.
pub(super) const INSIDE: &str = "/.cofferdam";
const PROGRAM: &str = "program";
const LOADER: &str = "loader";
const LIBRARIES: &str = "lib";
/// An empty file, to lay over what an image would have the loader load (`/etc/ld.so.preload`).
pub(super) const NOTHING: &str = "nothing";
/// An empty directory, to lay over what is hidden.
pub(super) const EMPTY: &str = "empty";

/// The directory of one program, and how it is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Outside; [`INSIDE`] inside.
    pub directory: PathBuf,
    has_loader: bool,
}

/// A program, and what it is executed by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needs {
    loader: Option<PathBuf>,
    /// By the name that is looked for.
    libraries: Vec<(String, PathBuf)>,
}

impl Program {
    /// Puts a copy of `path` into `directory`, with all that it needs: one directory that is wholly ours, so that nothing
    /// of an image lies beside any of it.
    pub(super) fn stage(path: &Path, directory: &Path) -> Result<Program, Cause> {
        let own = directory.join(PROGRAM);
        for part in [LIBRARIES, super::inside::DOOR, EMPTY] {
            let made = DirBuilder::new()
                .mode(0o755)
                .recursive(true)
                .create(directory.join(part));
            made.map_err(Cause::of(directory.display()))?;
        }
        fs::copy(path, &own).map_err(Cause::of(path.display()))?;
        let needs = Needs::of(&own)?;
        let libraries = needs.libraries.iter();
        let libraries = libraries.map(|(name, path)| (path, directory.join(LIBRARIES).join(name)));
        let loader = needs.loader.iter().map(|path| (path, directory.join(LOADER)));
        for (from, to) in libraries.chain(loader) {
            fs::copy(from, &to).map_err(Cause::of(from.display()))?;
        }
        fs::write(directory.join(NOTHING), "").map_err(Cause::of(directory.display()))?;
        // Whoever a guest is has to read and execute them.
        for entry in walk(directory)? {
            fs::set_permissions(&entry, Permissions::from_mode(0o755)).map_err(Cause::of(entry.display()))?;
        }
        Ok(Program {
            directory: directory.to_owned(),
            has_loader: needs.loader.is_some(),
        })
    }

    /// What is executed inside.
    pub(super) fn command(&self) -> Vec<String> {
        let words = words(self.has_loader);
        words.into_iter().chain([super::ARGUMENT.to_owned()]).collect()
    }
}

/// The words by which this program, or what else was staged of `path`, is executed in a container.
///
/// # Errors
/// What it is executed by cannot be found out.
pub fn itself(path: &Path) -> Result<Vec<String>, String> {
    let needs = Needs::of(path).map_err(|cause| cause.0)?;
    Ok(words(needs.loader.is_some()))
}

fn words(has_loader: bool) -> Vec<String> {
    let program = format!("{INSIDE}/{PROGRAM}");
    match has_loader {
        true => vec![
            format!("{INSIDE}/{LOADER}"),
            "--library-path".to_owned(),
            format!("{INSIDE}/{LIBRARIES}"),
            program,
        ],
        false => vec![program],
    }
}

/// Everything in a directory, and itself.
fn walk(directory: &Path) -> Result<Vec<PathBuf>, Cause> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).map_err(Cause::of(directory.display()))? {
        let path = entry.map_err(Cause::of(directory.display()))?.path();
        match path.is_dir() {
            true => found.extend(walk(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

impl Needs {
    /// Asks the loader what it would load, as `ldd` does. A program without one ignores the question: it finds no socket
    /// in its place, and ends.
    fn of(path: &Path) -> Result<Needs, Cause> {
        let told = Command::new(path)
            .arg(super::ARGUMENT)
            .env_clear()
            .env("LD_TRACE_LOADED_OBJECTS", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .map_err(Cause::of(path.display()))?;
        Needs::read(&String::from_utf8_lossy(&told.stdout))
    }

    /// Lines such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
    fn read(told: &str) -> Result<Needs, Cause> {
        let (mut loader, mut libraries) = (None, Vec::new());
        for line in told.lines().map(str::trim) {
            let (name, place) = match line.split_once(" => ") {
                Some((name, place)) => (Some(name), place),
                None => (None, line),
            };
            let place = place.rsplit_once(" (").map_or(place, |(place, _)| place);
            match (name, place) {
                (_, "not found") => return Err(Cause(format!("this program lacks the library {line}"))),
                (Some(name), place) if place.starts_with('/') && !name.contains('/') => {
                    libraries.push((name.to_owned(), canonical(place)?));
                }
                (None, place) | (Some(place), _) if place.starts_with('/') => {
                    loader = Some(canonical(place)?)
                }
                // What the kernel brings (`linux-vdso.so.1`).
                _ => (),
            }
        }
        if loader.is_none() && !libraries.is_empty() {
            return Err(Cause("this program has libraries and no loader".to_owned()));
        }
        Ok(Needs { loader, libraries })
    }
}

fn canonical(path: &str) -> Result<PathBuf, Cause> {
    Path::new(path).canonicalize().map_err(Cause::of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_tells_is_what_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["libc.so.6", "ld.so"] {
            std::fs::write(at(name), "").unwrap();
        }
        let told = format!(
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => {} (0x2)\n\t{} (0x3)\n",
            at("libc.so.6").display(),
            at("ld.so").display()
        );
        let needs = Needs::read(&told).unwrap();
        assert_eq!(needs.loader, Some(at("ld.so").canonicalize().unwrap()));
        let names: Vec<&str> = needs.libraries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["libc.so.6"]);
        assert_eq!(Needs::read("").unwrap().loader, None, "a static one");
        let lacks = Needs::read("\tlibx.so => not found\n").unwrap_err();
        assert!(lacks.0.contains("lacks the library libx.so"), "{}", lacks.0);
    }

    #[test]
    fn a_staged_program_runs_by_what_was_staged() {
        let dir = tempfile::tempdir().unwrap();
        let program = Program::stage(Path::new("/usr/bin/env"), &dir.path().join("p")).unwrap();
        let inside = |word: &String| word.replace(INSIDE, program.directory.to_str().unwrap());
        let command: Vec<String> = program.command().iter().map(inside).collect();
        let (last, words) = command.split_last().unwrap();
        assert_eq!(last, crate::container::ARGUMENT);
        let said = Command::new(&words[0])
            .args(&words[1..])
            .arg("A=b")
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "A=b\n", "{words:?}");
    }
}
