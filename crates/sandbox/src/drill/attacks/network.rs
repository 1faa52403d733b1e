//! Attacks on the network that go past the door.

use super::{Attack, attack};
use crate::spec::Part::{self, Capabilities, LandlockScopes, LandlockTcp, Network, Root, Seccomp};

const FAMILY: &[Part] = &[Seccomp];
const RAW: &[Part] = &[Seccomp, Capabilities];
const AWAY: &str = "what it reads it could send anywhere, and nobody would know";
const ENGINE: &str = "whoever speaks with a container engine is root of the machine";
const ODD: &str = "families of sockets that walls for TCP know nothing of";

#[rustfmt::skip]
pub const NETWORK: &[Attack] = &[
    attack("network.tcp", "connect to a server of this machine", "services that trust their own machine ask for no password",
        &[Network, LandlockTcp], &[&["connect-tcp", "127.0.0.1:{trap}"], &["connect-tcp", "[::1]:{trap}"]]),
    attack("network.metadata", "have a way to the metadata service", "it gives the machine's own credentials to whoever asks",
        &[Network], &[&["route", "169.254.169.254:80"]]),
    attack("network.udp", "send datagrams", AWAY, &[Network], &[&["echo-udp", "127.0.0.1:{udp}", "{nonce}"]]),
    attack("network.dns", "have a way to name servers, and carry something out in names", AWAY, &[Network], &[
        &["route", "192.0.2.53:53"], &["route", "198.51.100.53:53"],
    ]),
    attack("network.raw", "open raw sockets", "with them it could speak as somebody else", RAW, &[
        &["socket", "2", "3", "1"], &["socket", "2", "3", "255"], &["socket", "10", "3", "58"],
    ]),
    attack("network.icmp", "open sockets for ping", AWAY, FAMILY, &[&["socket", "2", "2", "1"], &["socket", "10", "2", "58"]]),
    attack("network.packet", "open packet sockets", "with them it could listen to others", RAW, &[
        &["socket", "17", "3", "768"], &["socket", "17", "2", "768"],
    ]),
    attack("network.vsock", "reach the hypervisor, or neighbours, by vsock", ODD, FAMILY, &[
        &["socket", "40", "1", "0"], &["socket", "40", "2", "0"],
    ]),
    attack("network.netlink", "speak with parts of the kernel by netlink", ODD, FAMILY, &[
        &["socket", "16", "3", "16"], &["socket", "16", "3", "9"], &["socket", "16", "3", "12"],
    ]),
    attack("network.protocols", "use protocols that nobody filters: MPTCP, SCTP, the kernel's ciphers, Bluetooth", ODD, FAMILY, &[
        &["socket", "2", "1", "262"], &["socket", "2", "1", "132"], &["socket", "38", "5", "0"], &["socket", "31", "5", "0"],
        &["socket", "29", "3", "1"],
    ]),
    attack("network.abstract", "reach an abstract unix socket", "desktops and message buses listen there",
        &[Network, LandlockScopes], &[&["connect-abstract", "{abstract}"], &["take-abstract-descriptor", "{abstract}"]]),
    attack("network.engine", "reach the socket of a container engine", ENGINE, &[Root], &[
        &["connect-unix", "{outside}/engine.sock"], &["connect-unix", "/var/run/docker.sock"],
        &["connect-unix", "/run/docker.sock"], &["connect-unix", "/run/containerd/containerd.sock"],
        &["connect-unix", "/run/podman/podman.sock"], &["connect-unix", "/run/systemd/private"],
        &["connect-unix", "/run/dbus/system_bus_socket"],
    ]),
    attack("network.platform", "reach the socket by which the platform starts guests", "it could start guests of its own", &[Root], &[
        &["connect-unix", "{own}/run.sock"],
    ]),
    attack("network.door", "take the place of the door", "other programs inside would speak with the agent instead", &[], &[
        &["bind-tcp", "127.0.0.1:7401"], &["bind-tcp", "[::1]:7401"],
    ]).by("the door is taken before it starts"),
];
