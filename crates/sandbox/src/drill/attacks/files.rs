//! Attacks on files: others' files, by every way to them, and files that others run later.

use super::{Attack, Way, attack, opaque};
use crate::spec::Part::{self, Capabilities, LandlockFiles, Protected, Root, Seccomp, Users};

const SEEN: &[Part] = &[Root, LandlockFiles];
const MOUNTS: &[Part] = &[Seccomp, Capabilities, LandlockFiles];
const FILE_TO_OTHERS: &str = "whatever a user of this machine can read, the agent could send away";
const WRITTEN: &str = "who writes outside the workspace changes what runs on this machine";
const RUN_LATER: &str =
    "it would run outside, with the rights of the next person who works in this directory";

#[rustfmt::skip]
pub const FILES: &[Attack] = &[
    attack("files.shadow", "read the system's passwords and keys", FILE_TO_OTHERS, SEEN, &[
        &["read", "/etc/shadow"], &["read", "/etc/gshadow"], &["read", "/etc/sudoers"], &["list", "/etc/ssl/private"],
    ]),
    attack("files.ssh", "read SSH keys", "a key opens other machines, long after the agent ended", SEEN, &[
        &["read", "{outside}/.ssh/id_ed25519"], &["list", "{home}/.ssh"], &["list", "/root/.ssh"],
        &["list", "/home/guest/.ssh"], &["list", "/etc/ssh"],
    ]),
    attack("files.cloud", "read credentials of clouds and clusters", "they open accounts that this machine only visits", SEEN, &[
        &["read", "{outside}/.aws/credentials"], &["list", "{home}/.aws"], &["list", "/root/.aws"],
        &["list", "{home}/.config/gcloud"], &["read", "{home}/.kube/config"], &["list", "/var/run/secrets"],
    ]),
    attack("files.workspace", "read another session's workspace", "one agent's secrets and mistakes become every agent's", SEEN, &[
        &["read", "{outside}/secret"], &["list", "{outside}"],
    ]),
    attack("files.up", "climb out by `..`", FILE_TO_OTHERS, SEEN, &[
        &["read", "../outside/secret"], &["read", "../../../../../../../../../../{outside}/secret"],
        &["read", "/tmp/../{outside}/secret"],
    ]),
    attack("files.link", "leave by a symbolic link in the workspace", FILE_TO_OTHERS, SEEN, &[
        &["read-by-link", "{outside}/secret"], &["read-by-link", "../outside/secret"], &["read-by-link", "/etc/shadow"],
    ]),
    attack("files.hard-link", "leave by a hard link in the workspace", FILE_TO_OTHERS, SEEN, &[
        &["hard-link", "{outside}/secret"], &["hard-link", "/etc/hosts"], &["hard-link", "/proc/self/root{outside}/secret"],
    ]),
    attack("files.race", "leave by a name that changes while it is looked at", FILE_TO_OTHERS, SEEN, &[
        &["read-by-race", "{outside}/secret"],
    ]),
    attack("files.proc", "leave by /proc", FILE_TO_OTHERS, SEEN, &[
        &["read", "/proc/self/root{outside}/secret"], &["read", "/proc/self/cwd/../outside/secret"],
        &["read", "/proc/1/root{outside}/secret"], &["read", "/proc/1/cwd{outside}/secret"], &["list", "/proc/1/fd"],
        &["read", "/proc/self/task/../../1/root/etc/shadow"],
    ]),
    attack("files.descriptor", "use a descriptor that leads out: inherited, or from somebody outside",
        "a descriptor is a way in past every name", &[Root], &[
        &["inherited"], &["take-descriptor", "{outside}/giver.sock"],
    ]),
    attack("files.write", "write outside the workspace", WRITTEN, SEEN, &[
        &["create", "{outside}/new"], &["open-to-write", "{outside}/secret"], &["make-directory", "{outside}/directory"],
        &["rename", "{outside}/secret", "{outside}/taken"],
    ]),
    attack("files.system", "write into the system", WRITTEN, SEEN, &[
        &["open-to-write", "/etc/hosts"], &["open-to-write", "/etc/passwd"], &["create", "/usr/bin/cofferdam-drill-{nonce}"],
        &["create", "/etc/cofferdam-drill-{nonce}"], &["create", "/cofferdam-drill-{nonce}"],
    ]),
    attack("files.kernel", "write to the kernel's own files", "one of them names the program that the kernel runs as root", SEEN, &[
        &["open-to-write", "/proc/sys/kernel/core_pattern"], &["open-to-write", "/proc/sysrq-trigger"],
        &["open-to-write", "/sys/kernel/uevent_helper"], &["read", "/proc/kcore"],
    ]),
    attack("files.platform", "read the platform's data, keys and configuration",
        "with its tokens and keys the agent would be its own administrator", SEEN, &[
        &["list", "{own}"], &["read", "{own}/admin.token"], &["open-to-write", "{own}/admin.token"], &["read", "{own}"],
    ]),
    attack("files.hidden", "read or plant the platform's data in the workspace",
        "with its tokens and keys the agent would be its own administrator", &[Root], &[
        &["read", ".cofferdam/admin.token"], &["create", ".cofferdam/planted"], &["rename", ".cofferdam", "taken"],
    ]),
    attack("files.mount", "mount something, or something elsewhere", "whoever mounts decides what everybody sees", MOUNTS, &[
        &["mount", "/tmp"], &["bind", "/", "/tmp"], &["bind", "/proc/1/root", "/tmp"], &["bind", "/dev/null", "/etc/hosts"],
    ]),
    attack("files.unmount", "take a mount away and see what is below", "what a mount hides would be there again", MOUNTS, &[
        &["unmount", "/home/guest"], &["unmount", ".cofferdam"], &["unmount", ".git"], &["unmount", "/proc"],
    ]),
    attack("files.handle", "open a file by its number, past all paths", FILE_TO_OTHERS, &[Seccomp, Capabilities], &[
        &["open-by-handle"],
    ]),
    attack("files.device", "make or open a device of the machine", "a disk that is read as a device has no permissions",
        &[Users, Capabilities, LandlockFiles], &[
        &["make-device", "block", "8", "0"], &["make-device", "block", "259", "0"], &["make-device", "char", "1", "1"],
        &["open-to-write", "/dev/sda"], &["open-to-write", "/dev/vda"], &["read", "/dev/mem"], &["open-to-write", "/dev/kmsg"],
    ]),
    opaque("files.shown", "learn about this machine from what it shows of /usr and /etc",
        "names and versions of what is installed help the next attack",
        "programs need the system's libraries and its public configuration, which are shown read-only",
        "run the platform on a machine, or in an image, that has only what agents need"),
];

/// What the workspace of a drill holds of these.
#[rustfmt::skip]
pub const LATER_FILES: &[&str] = &[".git/config", ".git/HEAD", ".envrc", ".bashrc", ".mcp.json", "cofferdam.yaml"];

#[rustfmt::skip]
pub const LATER: &[Attack] = &[
    attack("later.hook", "write a hook of git", RUN_LATER, &[Protected], &[
        &["write", ".git/hooks/pre-commit"], &["write", ".git/hooks/post-checkout"], &["make-directory", ".git/modules"],
    ]),
    attack("later.git", "turn git's configuration, or the whole repository, to another", RUN_LATER, &[Protected], &[
        &["write", ".git/config"], &["rename", ".git/HEAD", ".git/config"], &["rename", ".git/hooks", ".git/old"],
        &["rename", ".git", "old"], &["write", ".git/commondir"],
    ]),
    attack("later.shell", "write what shells and editors start with", RUN_LATER, &[Protected], &[
        &["write", ".envrc"], &["write", ".bashrc"], &["write", ".mcp.json"],
    ]),
    attack("later.policy", "write its own policy", "an agent that writes its policy has none", &[Protected], &[
        &["write", "cofferdam.yaml"], &["rename", "cofferdam.yaml", "old.yaml"],
    ]),
    attack("later.new", "make what was not there, and would be run by whoever comes later", RUN_LATER, &[Protected], &[
        &["make-directory", ".vscode"], &["write", ".vscode/tasks.json"], &["write", ".zshrc"],
    ]).way(Way::SeenOutside),
    attack("later.set-user-id", "leave a set-user-id program in the workspace",
        "whoever starts it outside would run it as the workspace's owner", &[Seccomp], &[
        &["set-user-id"], &["create-set-user-id"],
    ]),
    opaque("later.work", "write a Makefile, a test or a dependency that does harm when it is used",
        RUN_LATER,
        "those are the agent's work, and nobody can tell good from bad by their names",
        "`cofferdam run --review` shows the changes before they are made; its last entry in the journal names each file"),
];
