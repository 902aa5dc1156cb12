//! Protocols that come to TCP's or UDP's ports, and those that only look like them.

use anyhow::Result;

use super::{LOUD, PORT, PROFILE, repelled};
use crate::{
    harness::{
        Case, Need, Sandbox,
        expect::judge,
        request::Kind,
        servant::SocketOption::{FastOpen, Repair},
        tcp, udp,
    },
    tests,
};

tests![
    multipath_tcp,
    udplite,
    shared_memory_communications,
    dccp_is_not_taken_for_tcp,
    fast_open,
    repair_mode,
];

/// It binds through an inner TCP socket, which is what is judged.
fn multipath_tcp(s: &Sandbox) -> Result<()> {
    Need::Mptcp.check()?;
    let want = tcp(PORT).kind(Kind::Mptcp);
    repelled(s, [want.clone().on_any_v6(false), want]).map(drop)
}

/// UDP-Lite has UDP's ports.
fn udplite(s: &Sandbox) -> Result<()> {
    Need::UdpLite.check()?;
    let want = udp(PORT).kind(Kind::UdpLite);
    repelled(s, [want.clone().on_any_v6(false), want]).map(drop)
}

/// SMC binds through an inner TCP socket too.
fn shared_memory_communications(s: &Sandbox) -> Result<()> {
    Need::Smc.check()?;
    repelled(s, [tcp(PORT).kind(Kind::Smc)]).map(drop)
}

/// DCCP reaches the hooks and has ports of its own: no attack, and nobody's business.
fn dccp_is_not_taken_for_tcp(s: &Sandbox) -> Result<()> {
    Need::Dccp.check()?;
    let want = tcp(PORT).kind(Kind::Dccp);
    let cases = [
        Case::not_judged(&s.caller("wrong"), want.clone()),
        Case::not_judged(&s.caller("wrong"), want.on_any_v6(false)),
        Case::other_job(&s.caller("wrong"), tcp(PORT), "4321 TCP RIGHT"),
        Case::permitted(&s.caller("right"), tcp(PORT), "4321 TCP RIGHT"),
    ];
    judge(s, PROFILE, LOUD, &cases).map(drop)
}

/// A socket that takes data with the first packet.
fn fast_open(s: &Sandbox) -> Result<()> {
    let want = tcp(PORT).with(FastOpen, 5).listening();
    repelled(s, [want.clone().on_any_v6(false), want]).map(drop)
}

/// `TCP_REPAIR`, by which containers are restored: the kernel gives such a socket a
/// port that somebody has.
fn repair_mode(s: &Sandbox) -> Result<()> {
    repelled(s, [tcp(PORT).with(Repair, 1)]).map(drop)
}
