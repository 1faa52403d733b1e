//! A platform with one guest, which waits to be killed.

use crate::flight::flight;
use crate::{Outcome, word};
use sandbox::container::Containers;
use sandbox::{Bind, Config, Launcher, Spec};
use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A launcher with a guest that holds a lock. Its user may be any.
pub fn platform(args: &[String]) -> Outcome {
    let site = Path::new(word(args, 0));
    let launcher = Launcher::start(Config::default()).unwrap();
    let attacker = site.join("attacker");
    let mut argv = vec![attacker.to_str().unwrap().to_owned()];
    argv.extend(["hold", word(args, 1), word(args, 2)].map(str::to_owned));
    let mut spec = Spec::new(argv, site.join("workspace"));
    spec.workspace_at = spec.workspace.clone();
    spec.limits.disk_free_bytes = 0;
    spec.reads = vec![Bind {
        source: attacker.clone(),
        target: attacker,
    }];
    for part in launcher.ability().missing.keys() {
        spec.degrade.insert(*part);
    }
    let (out, to_out) = std::io::pipe()?;
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let guest = launcher
        .launch(&flight(), &spec, [null(), to_out.into(), null()])
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(out).read_line(&mut line)?;
    println!(
        "{} without {:?}",
        line.trim(),
        guest.rules().given_up.keys().collect::<Vec<_>>()
    );
    std::io::Write::flush(&mut std::io::stdout())?;
    loop {
        std::hint::black_box(&guest);
        std::thread::park();
    }
}

/// A platform with a guest in a container, which writes to our standard output.
pub fn of_containers(args: &[String]) -> Outcome {
    let site = Path::new(word(args, 0));
    let containers = Containers::new(sandbox::container::Config {
        program: std::env::current_exe()?,
        directory: site.join("made-by-another"),
        socket: Some(site.join("engine.sock")),
        owner: site.display().to_string(),
    });
    let (container, _) = containers.image(None, word(args, 1)).unwrap();
    let argv = [
        "sh",
        "-c",
        "touch mark; echo runs; (setsid sleep 1000 &); sleep 1000",
    ];
    let mut spec = Spec::new(argv.map(str::to_owned).into(), site.join("workspace"));
    spec.limits.disk_free_bytes = 0;
    spec.limits.memory_bytes = Some(128 << 20);
    spec.container = Some(container);
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let out = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned()?;
    let guest = containers
        .launch(&flight(), &spec, [null(), out, null()])
        .unwrap();
    loop {
        std::hint::black_box(&guest);
        std::thread::park();
    }
}
