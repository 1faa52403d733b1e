//! Attacks on the network through the door, which meet the gate. Lent for them, and answered by the drill itself:
//! `localhost` at one port as a tunnel of TLS, at one as requests in clear text, at one without its network named. To
//! those on addresses every host is lent, or they would be refused before anybody looks where they lead.

use super::{Attack, Way, attack, opaque};

const fn gate(
    id: &'static str,
    title: &'static str,
    why: &'static str,
    attempts: &'static [&'static [&'static str]],
) -> Attack {
    attack(id, title, why, &[], attempts).by("the gate")
}

const ANYWHERE: &str = "what it reads it could send anywhere";
const TWICE: &str = "what the gate judged is not what the server does";
const OTHER: &str = "behind an allowed host stands another, which nobody allowed";

#[rustfmt::skip]
pub const GATE: &[Attack] = &[
    gate("gate.metadata", "reach 169.254.169.254 in every spelling", "it gives the machine's own credentials to whoever asks", &[
        &["spelled", "{door}", "metadata", "80"], &["spelled", "{door}", "metadata", "443"],
    ]).way(Way::LentEverything),
    gate("gate.loopback", "reach this machine in every spelling", "services that trust their own machine ask for no password", &[
        &["spelled", "{door}", "loopback", "{trap}"],
    ]).way(Way::LentEverything),
    gate("gate.address", "reach an address without a name", ANYWHERE, &[
        &["connect", "{door}", "127.0.0.1:{private}"], &["connect", "{door}", "10.0.0.1:443"], &["connect", "{door}", "192.168.0.1:443"],
        &["connect", "{door}", "100.64.0.1:443"], &["connect", "{door}", "[fd00::1]:443"], &["connect", "{door}", "192.0.2.1:443"],
    ]),
    gate("gate.private", "reach an allowed name that leads to this machine", "who rules a name would rule what is reached by it", &[
        &["connect", "{door}", "localhost:{private}"],
    ]),
    gate("gate.host", "reach hosts and ports that nobody lent", ANYWHERE, &[
        &["connect", "{door}", "evil.example:443"], &["connect", "{door}", "localhost:1"], &["connect", "{door}", "evil-localhost:{tls}"],
        &["connect", "{door}", "localhost.evil.example:{tls}"], &["spelled", "{door}", "names", "80"],
    ]),
    gate("gate.names", "carry something out in a name that is looked up", ANYWHERE, &[
        &["connect", "{door}", "{nonce}.cofferdam.invalid:443"], &["connect", "{door}", "{nonce}.localhost:{tls}"],
    ]),
    gate("gate.socks", "reach an address by SOCKS5, or listen, or send datagrams", ANYWHERE, &[
        // Commands: 1 connect, 2 bind, 3 UDP. Kinds: 1 IPv4, 3 a name, 4 IPv6.
        &["socks", "{door}", "{tls}", "1", "1", "a9fea9fe0050"], &["socks", "{door}", "{tls}", "1", "1", "7f0000010050"],
        &["socks", "{door}", "{tls}", "1", "3", "06307837662e310050"], &["socks", "{door}", "{tls}", "2", "1", "7f0000010050"],
        &["socks", "{door}", "{tls}", "3", "1", "000000000000"],
        &["socks", "{door}", "{tls}", "1", "4", "00000000000000000000ffffa9fea9fe0050"],
    ]),
    gate("gate.name", "name another host within a tunnel of TLS, or none", OTHER, &[
        &["tls", "{door}", "{tls}", "another-name"], &["tls", "{door}", "{tls}", "no-name"],
    ]),
    gate("gate.hidden-name", "hide within TLS whom it is to: ECH and ESNI", OTHER, &[
        &["tls", "{door}", "{tls}", "ech"], &["tls", "{door}", "{tls}", "ech-front"], &["tls", "{door}", "{tls}", "esni"],
    ]),
    gate("gate.not-tls", "speak something else than TLS in a tunnel of TLS", "what is not TLS cannot be compared with the host", &[
        &["tls", "{door}", "{tls}", "http"], &["tls", "{door}", "{tls}", "ssh"],
    ]),
    gate("gate.fronting", "name one host to the gate and another to the server", OTHER, &[
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nHost: evil.example\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}/{nonce} HTTP/1.1\r\n\r\n"],
    ]),
    gate("gate.smuggling", "smuggle a request within another", TWICE, &[
        &["request", "{door}", "{clear}", "POST http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        &["request", "{door}", "{clear}", "POST http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"],
        &["request", "{door}", "{clear}", "POST http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"],
        &["request", "{door}", "{clear}", "POST http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nGET /"],
        &["request", "{door}", "{clear}", "POST http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nContent-Length: +4\r\n\r\nGET "],
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}/{nonce} HTTP/1.1\nHost: localhost:{clear}\n\n"],
        &["request", "{door}", "{clear}", "CONNECT localhost:{tls} HTTP/1.1\r\nHost: localhost:{tls}\r\nContent-Length: 4\r\n\r\nGET "],
        &["request", "{door}", "{clear}", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ]),
    gate("gate.second", "send a request that is not allowed behind one that is", TWICE, &[
        &["second-request", "{door}", "{clear}", "localhost:{trap}"], &["second-request", "{door}", "{clear}", "169.254.169.254"],
    ]),
    gate("gate.absolute", "play on the address in a request", TWICE, &[
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}@127.0.0.1:{trap}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}\\@127.0.0.1:{trap}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET http://127.0.0.1:{trap}#localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET https://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET ftp://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET gopher://localhost:{clear}/_{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET file:///etc/passwd HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET /{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
    ]),
    gate("gate.injection", "put line ends and fields where one field should be", TWICE, &[
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}/{nonce}\r\nX-Injected: y HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET\thttp://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nX: a\r\t\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nX: a\u{1}b\r\n\r\n"],
        &["request", "{door}", "{clear}", "GET http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nX: y\r\n Folded: z\r\n\r\n"],
    ]),
    gate("gate.override", "tell the server of another method or path", TWICE, &[
        &["request", "{door}", "{clear}", "POST http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nX-HTTP-Method-Override: DELETE\r\n\r\n"],
        &["request", "{door}", "{clear}", "POST http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nX-Original-URL: /{nonce}\r\n\r\n"],
        &["request", "{door}", "{clear}", "POST http://localhost:{clear}/{nonce} HTTP/1.1\r\nHost: localhost:{clear}\r\nContent_Length: 4\r\n\r\n"],
    ]),
    gate("gate.redirect", "follow an answer that leads to this machine", "whoever answers would decide what is reached", &[
        &["follow", "{door}", "{clear}", "127.0.0.1:{trap}"],
    ]),
    gate("gate.slow", "hold the gate up with heads and tunnels that say nothing", "who holds every connection keeps others from theirs", &[
        &["slow", "{door}", "{tls}", "{clear}"],
    ]).way(Way::Alone),
    gate("gate.flood", "ask the gate for more than it may, as fast as it can", "who asks without end keeps others from an answer", &[
        &["flood", "{door}", "5000"],
    ]).way(Way::Alone),
    opaque("gate.tunnel", "send anything to an allowed host, or to one behind it, within an opaque tunnel",
        "what it reads leaves the machine, and the journal holds sizes and not words",
        "nobody looks into a tunnel of TLS: `--allow HOST:443` grants the whole host, and all that it serves under its name",
        "an `Egress` rule with `inspect: true`, methods and paths"),
    opaque("gate.rebinding", "have a name lead elsewhere between the look at it and its use",
        "who rules a name would rule what is reached by it",
        "the drill rules no name: the gate dials the address that it checked, which its tests show with names of their own",
        "nothing to do; `cofferdam egress test HOST:PORT` shows which addresses a name leads to"),
];
