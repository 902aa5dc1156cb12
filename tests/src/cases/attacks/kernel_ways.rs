//! Letting the kernel bind: its sockets are made in a call of somebody's.

use std::{net::Ipv4Addr, rc::Rc};

use anyhow::Result;

use super::{LOUD, PORT, PROFILE, entry};
use crate::{
    ensure_eq,
    harness::{
        Case, Need, Sandbox, Servant, Want, expect::expect_of_deed, links::Link, servant::Said,
        skip, tcp, udp,
    },
    tests,
};

tests![a_tunnel_on_the_port, an_mptcp_endpoint_on_the_port];

/// `act` is free without an agent, refused to the process `wrong` as `want`, and the
/// process `right` may do it. What it makes stays, so each has a network of its own.
fn repelled(s: &Sandbox, want: &Want, act: &dyn Fn(&Servant) -> Result<Said<()>>) -> Result<()> {
    let act = |name: &str| -> Result<_> {
        let servant = Servant::start(&s.caller(name).elsewhere())?;
        let said = act(&servant)?;
        Ok((Rc::new(servant), said))
    };
    ensure_eq!(act("wrong")?.1, Ok(()), "without an agent");
    let settings = LOUD.everywhere();
    let agent = s.agent(PROFILE, settings)?.start()?;
    let entry = entry(want);
    let refused = Case::other_job(&s.caller("wrong"), want.clone(), entry);
    expect_of_deed(&agent, PROFILE, settings, &refused, &|| act("wrong"))?;
    let owner = Case::permitted(&s.caller("right"), want.clone(), entry);
    expect_of_deed(&agent, PROFILE, settings, &owner, &|| act("right"))
}

/// A VXLAN device has a UDP port, which the kernel binds when the device is raised: in
/// the name of who raises it.
fn a_tunnel_on_the_port(s: &Sandbox) -> Result<()> {
    let probe = Servant::start(&s.caller("probe").elsewhere())?;
    if let Err(errno) = probe.add_link(&Link::Vxlan(PORT))? {
        return Err(skip(format!("this kernel makes no VXLAN devices: {errno}")));
    }
    let want = udp(PORT).on(Ipv4Addr::UNSPECIFIED);
    repelled(s, &want, &|servant| servant.add_link(&Link::Vxlan(PORT)))
}

/// For an MPTCP endpoint with a port the kernel listens there, in the name of who adds
/// it.
fn an_mptcp_endpoint_on_the_port(s: &Sandbox) -> Result<()> {
    Need::Mptcp.check()?;
    let address = Ipv4Addr::LOCALHOST;
    repelled(s, &tcp(PORT).on(address), &|servant| {
        servant.add_endpoint(address, PORT)
    })
}
