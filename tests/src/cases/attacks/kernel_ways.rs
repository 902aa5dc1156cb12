//! Letting the kernel bind: its sockets are made in a call of somebody's.

use std::{net::Ipv4Addr, rc::Rc};

use anyhow::Result;

use super::{LOUD, PORT, PROFILE};
use crate::{
    ensure_eq,
    harness::{Case, Sandbox, Servant, expect::expect_of_deed, links::Link, skip, udp},
    tests,
};

tests![a_tunnel_on_the_port];

/// A VXLAN device has a UDP port, which the kernel binds when the device is raised: in
/// the name of who raises it.
fn a_tunnel_on_the_port(s: &Sandbox) -> Result<()> {
    let probe = Servant::start(&s.caller("probe").elsewhere())?;
    if let Err(errno) = probe.add_link(&Link::Vxlan(PORT))? {
        let what = format!("this kernel makes no VXLAN devices: {errno}");
        return Err(skip(what));
    }
    let raise = |name: &str| -> Result<_> {
        let servant = Servant::start(&s.caller(name).elsewhere())?;
        let said = servant.add_link(&Link::Vxlan(PORT))?;
        Ok((Rc::new(servant), said))
    };
    // Every servant has a network of its own, or the first device would stay.
    let want = udp(PORT).on(Ipv4Addr::UNSPECIFIED);
    let case = Case::other_job(&s.caller("wrong"), want, "4321 UDP RIGHT");
    let settings = LOUD.everywhere();
    ensure_eq!(raise("wrong")?.1, Ok(()), "without an agent");
    let agent = s.agent(PROFILE, settings)?.start()?;
    expect_of_deed(&agent, PROFILE, settings, &case, &|| raise("wrong"))?;
    let owner = Case::permitted(&s.caller("right"), case.want, "4321 UDP RIGHT");
    expect_of_deed(&agent, PROFILE, settings, &owner, &|| raise("right"))
}
