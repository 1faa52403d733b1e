//! Which commands carry what they run in their arguments.

use std::path::Path;

/// Programs that read a language: their flags that take a text of it. Without a file to read they read their input.
const INTERPRETERS: [(&str, &[&str]); 19] = [
    ("ash", &["-c"]),
    ("bash", &["-c"]),
    ("bun", &["-e", "--eval", "-p", "--print"]),
    ("dash", &["-c"]),
    ("deno", &["eval", "repl"]),
    ("fish", &["-c", "--command", "-C", "--init-command"]),
    ("ksh", &["-c"]),
    ("lua", &["-e"]),
    (
        "node",
        &[
            "-e",
            "--eval",
            "-p",
            "--print",
            "-pe",
            "-r",
            "--require",
            "--import",
        ],
    ),
    (
        "nodejs",
        &[
            "-e",
            "--eval",
            "-p",
            "--print",
            "-pe",
            "-r",
            "--require",
            "--import",
        ],
    ),
    ("perl", &["-e", "-E", "-M", "-m"]),
    ("php", &["-r", "-B", "-R", "-E"]),
    ("python", &["-c", "-m"]),
    ("pypy", &["-c", "-m"]),
    ("rbash", &["-c"]),
    ("ruby", &["-e", "-r"]),
    ("sh", &["-c"]),
    ("tclsh", &["-c"]),
    ("zsh", &["-c"]),
];
/// Programs that run the program that their arguments name, or a text in them, whatever else is said.
const WRAPPERS: [&str; 34] = [
    "awk", "busybox", "chroot", "chrt", "doas", "env", "expect", "flock", "gawk", "gdb", "ionice", "make",
    "mawk", "nice", "nohup", "nsenter", "parallel", "script", "setarch", "setpriv", "setsid", "sg", "ssh",
    "stdbuf", "strace", "su", "sudo", "timeout", "unshare", "watch", "xargs", "taskset", "prlimit",
    "cpulimit",
];
/// Arguments of other programs that name something to run.
const RUNS: [(&str, &[&str]); 11] = [
    ("sort", &["--compress-program"]),
    ("split", &["--filter"]),
    ("rg", &["--pre"]),
    ("find", &["-exec", "-execdir", "-ok", "-okdir"]),
    ("fd", &["-x", "--exec", "-X", "--exec-batch"]),
    (
        "git",
        &[
            "-c",
            "--config-env",
            "--exec-path",
            "--upload-pack",
            "--receive-pack",
            "--exec",
            "-x",
            "-u",
            "-O",
            "--open-files-in-pager",
            "bisect",
            "submodule",
            "filter-branch",
        ],
    ),
    ("rsync", &["-e", "--rsh", "--rsync-path"]),
    ("scp", &["-S", "-o"]),
    (
        "sed",
        &["-e", "--expression", "-f", "--file", "-s", "--sandbox", "-n"],
    ),
    (
        "tar",
        &[
            "-I",
            "--use-compress-program",
            "--to-command",
            "--checkpoint-action",
            "-F",
            "--info-script",
        ],
    ),
    ("vim", &["-c", "-S", "-s", "--cmd"]),
];

/// Why the arguments of `program` hold what is run; none when they hold data.
pub(super) fn is_evaluated(
    program: &Path,
    arguments: &[String],
    is_file: impl Fn(&str) -> bool,
) -> Option<String> {
    let name = program.file_name()?.to_string_lossy();
    // `python3.11` is a python, `vim.basic` a vim, `perl5.36-x86_64-linux-gnu` a perl.
    let letters = name
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(name.len());
    let base = name.get(..letters).unwrap_or(&name).trim_end_matches('-');
    if WRAPPERS.contains(&base) {
        return Some(format!("`{name}` runs what its arguments say"));
    }
    if let Some((_, flags)) = INTERPRETERS.iter().find(|(known, _)| *known == base) {
        if let Some(flag) = flag(arguments, flags) {
            return Some(format!("`{name} {flag}` evaluates its argument"));
        }
        let script = arguments.iter().find(|argument| !argument.starts_with('-'));
        let reads_input = arguments
            .iter()
            .any(|argument| argument == "-" || argument == "-s");
        return match script.is_some_and(|script| is_file(script)) && !reads_input {
            true => None,
            false => Some(format!("`{name}` without a file evaluates its input")),
        };
    }
    let (_, flags) = RUNS.iter().find(|(known, _)| *known == base)?;
    // The script of `sed` is its first argument, and may run commands.
    if base == "sed" {
        return Some("a script of `sed` may run commands".to_owned());
    }
    // The first argument of `tar` needs no dash.
    let old = arguments
        .first()
        .filter(|first| base == "tar" && !first.starts_with('-') && first.contains(['I', 'F']));
    if let Some(letters) = old {
        return Some(format!("`{name} {letters}` runs what its argument names"));
    }
    flag(arguments, flags).map(|flag| format!("`{name} {flag}` runs what its argument names"))
}

/// The first of `arguments` that is one of `flags`: as it is, with its value behind `=`, or, for those of one letter, among
/// other letters or with its value right behind.
fn flag<'a>(arguments: &'a [String], flags: &[&str]) -> Option<&'a str> {
    let is = |argument: &&String| {
        flags.iter().any(|flag| {
            let letters = flag.strip_prefix('-').filter(|letters| letters.len() == 1);
            let together = argument.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
            *argument == flag
                || argument
                    .strip_prefix(flag)
                    .is_some_and(|rest| rest.starts_with('='))
                || is_short_for(argument, flag)
                || letters
                    .zip(together)
                    .is_some_and(|(letter, all)| all.contains(letter))
        })
    };
    arguments.iter().find(is).map(String::as_str)
}

/// Whether a long option is written short, as GNU programs read it: `--to-com=x` for `--to-command`.
fn is_short_for(argument: &str, flag: &str) -> bool {
    let written = argument.split('=').next().unwrap_or_default();
    written.starts_with("--") && written.len() > 4 && flag.starts_with(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_what_it_runs_is_told_from_what_carries_data() {
        #[rustfmt::skip]
        let table: [(&str, &[&str], Option<&str>); 35] = [
            ("/usr/bin/python3",    &["-", "check.py"],                 Some("`python3` without a file evaluates its input")),
            ("/usr/bin/bash",       &["-s", "check.sh"],                Some("`bash` without a file evaluates its input")),
            ("/usr/bin/python3",    &["-W", "ignore"],                  Some("`python3` without a file evaluates its input")),
            ("/usr/bin/bash",       &["/dev/stdin"],                    Some("`bash` without a file evaluates its input")),
            ("/usr/bin/perl5.36-x86_64-linux-gnu", &["-e", "1"],        Some("`perl5.36-x86_64-linux-gnu -e` evaluates its argument")),
            ("/usr/bin/tar",        &["xIf", "sh -c id", "a.tar"],      Some("`tar xIf` runs what its argument names")),
            ("/usr/bin/tar",        &["--to-com=id", "-xf", "a"],       Some("`tar --to-com=id` runs what its argument names")),
            ("/usr/bin/git",        &["bisect", "run", "./x"],          Some("`git bisect` runs what its argument names")),
            ("/usr/bin/sort",       &["--compress-program=./x", "a"],   Some("`sort --compress-program=./x` runs what its argument names")),
            ("/usr/bin/dash",       &["-c", "id"],                      Some("`dash -c` evaluates its argument")),
            ("/usr/bin/bash",       &["-lc", "id"],                     Some("`bash -lc` evaluates its argument")),
            ("/usr/bin/bash",       &["-xec", "id"],                    Some("`bash -xec` evaluates its argument")),
            ("/usr/bin/bash",       &[],                                Some("`bash` without a file evaluates its input")),
            ("/usr/bin/bash",       &["-s"],                            Some("`bash` without a file evaluates its input")),
            ("/usr/bin/bash",       &["build.sh"],                      None),
            ("/usr/bin/python3.11", &["-c", "print(1)"],                Some("`python3.11 -c` evaluates its argument")),
            ("/usr/bin/python3.11", &["-cprint(1)"],                    Some("`python3.11 -cprint(1)` evaluates its argument")),
            ("/usr/bin/python3.11", &["-m", "http.server"],             Some("`python3.11 -m` evaluates its argument")),
            ("/usr/bin/python3.11", &["-"],                             Some("`python3.11` without a file evaluates its input")),
            ("/usr/bin/python3.11", &["check.py", "--count"],           None),
            ("/usr/bin/node",       &["--eval=1"],                      Some("`node --eval=1` evaluates its argument")),
            ("/usr/bin/perl",       &["-ne", "print"],                  Some("`perl -ne` evaluates its argument")),
            ("/usr/bin/env",        &["sh"],                            Some("`env` runs what its arguments say")),
            ("/usr/bin/xargs",      &["rm"],                            Some("`xargs` runs what its arguments say")),
            ("/usr/bin/mawk",       &["BEGIN{system(\"id\")}"],         Some("`mawk` runs what its arguments say")),
            ("/usr/bin/make",       &["test"],                          Some("`make` runs what its arguments say")),
            ("/usr/bin/find",       &[".", "-name", "x"],               None),
            ("/usr/bin/find",       &[".", "-exec", "rm", "{}", ";"],   Some("`find -exec` runs what its argument names")),
            ("/usr/bin/git",        &["log", "--oneline"],              None),
            ("/usr/bin/git",        &["-c", "alias.x=!id", "x"],        Some("`git -c` runs what its argument names")),
            ("/usr/bin/tar",        &["-xf", "a.tar"],                  None),
            ("/usr/bin/tar",        &["--to-command=id", "-xf", "a"],   Some("`tar --to-command=id` runs what its argument names")),
            ("/usr/bin/sed",        &["1e id", "file"],                 Some("a script of `sed` may run commands")),
            ("/usr/bin/grep",       &["-e", "word", "-c", "file"],      None),
            ("/usr/bin/ls",         &["-c", "; id", "$(id)"],           None),
        ];
        for (program, arguments, expected) in table {
            let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
            let is_file = |operand: &str| ["build.sh", "check.py", "check.sh"].contains(&operand);
            let found = is_evaluated(Path::new(program), &arguments, is_file);
            assert_eq!(found.as_deref(), expected, "{program} {arguments:?}");
        }
    }
}
