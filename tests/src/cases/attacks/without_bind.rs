//! Ports that nobody asks for by number: the kernel never hands out a reserved one.

use std::net::Ipv4Addr;

use anyhow::Result;
use nix::errno::Errno;

use super::repelled;
use crate::{
    ensure_eq,
    harness::{
        Case, Sandbox, Servant, Settings, Watch,
        draw::set_range,
        expect::expect,
        request::Kind,
        servant::SocketOption::{NoPort, PortRange},
        skip, tcp, udp,
    },
    tests,
};

tests![
    a_port_that_is_chosen_at_connect,
    a_port_range_of_the_sockets_own,
    a_reserved_port_with_bind_address_no_port,
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const RESERVED: u16 = 40010;
const PROFILE: &str = "PORT\n 40010 TCP RIGHT\n 40010 UDP RIGHT\n";

/// The highest port in the upper half, the lowest in the lower one.
fn only(port: u16) -> i32 {
    (u32::from(port) << 16 | u32::from(port)).cast_signed()
}

/// `IP_BIND_ADDRESS_NO_PORT`: bind says port 0, and the kernel chooses at connect,
/// which no bind hook sees. From a pool of two it takes the one that is free.
fn a_port_that_is_chosen_at_connect(s: &Sandbox) -> Result<()> {
    set_range(RESERVED, RESERVED)?;
    let draw = |port: u16| -> Result<_> {
        let server = Servant::start(&s.caller("server"))?;
        server.serve(Kind::Tcp, LOCAL, 9000)??;
        let wrong = Servant::start(&s.caller("wrong"))?;
        for kind in [Kind::Tcp, Kind::Udp] {
            let socket = wrong.socket(kind, false)?;
            wrong.set(socket, NoPort, 1)?;
            ensure_eq!(wrong.bind(socket, LOCAL, 0)?, Ok(()), "{kind:?}");
            ensure_eq!(wrong.connect(socket, LOCAL, 9000)?, Ok(()), "{kind:?}");
            ensure_eq!(wrong.name(socket)?.port(), port, "{kind:?}");
        }
        Ok(())
    };
    draw(RESERVED)?;
    set_range(RESERVED, RESERVED + 1)?;
    let agent = s.agent(PROFILE, Settings::DEFAULT.any_pool())?.start()?;
    let mut watch = Watch::start(&agent)?;
    draw(RESERVED + 1)?;
    watch.expect(&[], &[])?;
    let owners = [
        Case::permitted(&s.caller("right"), tcp(RESERVED), "40010 TCP RIGHT"),
        Case::permitted(&s.caller("right"), udp(RESERVED), "40010 UDP RIGHT"),
    ];
    expect(&agent, PROFILE, Settings::DEFAULT, &owners)
}

/// `IP_LOCAL_PORT_RANGE`: a socket that lets the kernel choose between one port.
fn a_port_range_of_the_sockets_own(s: &Sandbox) -> Result<()> {
    let probe = Servant::start(&s.caller("probe"))?;
    let socket = probe.socket(Kind::Tcp, false)?;
    if let Err(error) = probe.set(socket, PortRange, only(RESERVED)) {
        let what = format!("this kernel has no port ranges of sockets: {error:#}");
        return Err(skip(what));
    }
    let draw = |expected: &dyn Fn(Way) -> Result<(), Errno>| -> Result<()> {
        let server = Servant::start(&s.caller("server"))?;
        server.serve(Kind::Tcp, LOCAL, 9000)??;
        let wrong = Servant::start(&s.caller("wrong"))?;
        for (kind, way) in [
            (Kind::Tcp, Way::Bind),
            (Kind::Udp, Way::Bind),
            (Kind::Tcp, Way::Listen),
            (Kind::Tcp, Way::Connect),
            (Kind::Udp, Way::Send),
        ] {
            let socket = wrong.socket(kind, false)?;
            wrong.set(socket, PortRange, only(RESERVED))?;
            let said = match way {
                Way::Bind => wrong.bind(socket, LOCAL, 0)?,
                Way::Listen => wrong.listen(socket)?,
                Way::Connect => wrong.connect(socket, LOCAL, 9000)?,
                Way::Send => wrong.send(socket, 0, LOCAL, 9000)?,
            };
            ensure_eq!(said, expected(way), "{way:?} of {kind:?}");
            let port = if said.is_ok() { RESERVED } else { 0 };
            ensure_eq!(wrong.name(socket)?.port(), port, "{way:?} of {kind:?}");
            wrong.close(socket)?;
        }
        Ok(())
    };
    draw(&|_| Ok(()))?;
    let agent = s.agent(PROFILE, Settings::DEFAULT.any_pool())?.start()?;
    let mut watch = Watch::start(&agent)?;
    // The kernel's own words for a pool in which nothing is left.
    draw(&|way| {
        Err(match way {
            Way::Bind | Way::Listen => Errno::EADDRINUSE,
            Way::Connect => Errno::EADDRNOTAVAIL,
            Way::Send => Errno::EAGAIN,
        })
    })?;
    watch.expect(&[], &[])?;
    let owner = Case::permitted(&s.caller("right"), tcp(RESERVED), "40010 TCP RIGHT");
    expect(&agent, PROFILE, Settings::DEFAULT, &[owner])
}

/// How a socket comes by a port it did not name.
#[derive(Clone, Copy, Debug)]
enum Way {
    Bind,
    Listen,
    Connect,
    Send,
}

/// With a port in the name the option changes nothing.
fn a_reserved_port_with_bind_address_no_port(s: &Sandbox) -> Result<()> {
    let wants = [tcp(super::PORT), udp(super::PORT)];
    repelled(s, wants.map(|want| want.with(NoPort, 1))).map(drop)
}
