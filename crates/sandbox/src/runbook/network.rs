//! Steps for the network: loopback, and the sockets that listen on it for the platform.

use super::House;
use crate::spec::Part;
use crate::step::Cause;
use crate::sys;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};

/// Connections that wait to be accepted, of one door. What `net.core.somaxconn` allows at most is less on old kernels.
const BACKLOG: i32 = 1024;

/// In a new network namespace loopback is there and down, and nothing else is.
pub(super) fn raise_loopback(house: &mut House) -> Result<(), Cause> {
    if house.builds(Part::Network) {
        let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        sys::raise_loopback(any.as_fd())?;
    }
    Ok(())
}

/// A socket belongs to the network namespace that it was made in, whoever holds it. So these are made here, before
/// the guest could take their ports, and the platform accepts from them without any process in between.
pub(super) fn listen_at_doors(house: &mut House) -> Result<(), Cause> {
    let doors = house.spec()?.doors.clone();
    for port in doors {
        let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let socket = tcp(AddressFamily::INET).map_err(Cause::of(v4))?;
        bind(&socket, &v4).map_err(Cause::of(v4))?;
        listen(&socket, BACKLOG).map_err(Cause::of(v4))?;
        house.doors.push((port, socket));
        let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0);
        match tcp(AddressFamily::INET6) {
            Ok(socket) => {
                sockopt::set_ipv6_v6only(&socket, true)?;
                match bind(&socket, &v6) {
                    Ok(()) => {
                        listen(&socket, BACKLOG).map_err(Cause::of(v6))?;
                        house.doors.push((port, socket));
                    }
                    // A machine whose IPv6 is off by a sysctl.
                    Err(Errno::ADDRNOTAVAIL) => (),
                    Err(e) => return Err(Cause::of(v6)(e)),
                }
            }
            // A kernel without IPv6.
            Err(Errno::AFNOSUPPORT) => (),
            Err(e) => return Err(Cause::of(v6)(e)),
        }
        house.rules.doors.insert(port);
    }
    Ok(())
}

/// Without SO_REUSEPORT, so that the guest cannot listen beside it.
fn tcp(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
}
